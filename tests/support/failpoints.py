"""`python -m tests.support.failpoints serve ...`: `cecochat` that is killed at a named moment.

FAILPOINT=forward:40 ends the process, as SIGKILL does, at the 40th time it gets there; with
FAILPOINT=forward:40:SIGSTOP it stands still there, until the test sends SIGCONT. FAILPOINT=clock:MS
sets the clock of owners ahead. What is patched is looked up by name, so that one that has been
renamed fails the start.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from cecochat.cli.main import main
from cecochat.runtime.clock import now_ms
from cecochat.servers.materialize.indexing import Indexer
from cecochat.servers.materialize.worker import Materializer
from cecochat.servers.messaging import partition
from cecochat.servers.messaging.forward import Forwarding

VARIABLE = "FAILPOINT"

Method = Callable[..., Coroutine[Any, Any, None]]


def kill_at(name: str, nth: int, number: signal.Signals) -> None:
    """Arm it."""
    owner, method, before = MOMENTS[name]
    real: Method = getattr(owner, method)
    hits = 0

    async def counted(*args: Any, **named: Any) -> None:
        nonlocal hits
        hits += 1
        is_it = hits == nth  # asked now: others come there while this one waits
        if not before:
            await real(*args, **named)
        if is_it:
            os.kill(os.getpid(), number)
        if before:
            await real(*args, **named)

    setattr(owner, method, counted)


MOMENTS: dict[str, tuple[type, str, bool]] = {
    # An origin is in the log and was read back; its copies for one target are about to be appended.
    "forward": (Forwarding, "_append", True),
    # The rows are in the database, and the group's offset does not say so.
    "commit": (Materializer, "_write", False),
    # The index is made again, and another chat is about to be indexed.
    "index": (Indexer, "_index", True),
}
"""Name -> class, method, and whether it dies before that is done or after."""


def set_ahead(ms: int) -> None:
    """The owners of this process have a wrong clock."""
    vars(partition)["now_ms"] = lambda: now_ms() + ms


if __name__ == "__main__":
    moment, nth, *named = os.environ[VARIABLE].split(":")
    if moment == "clock":
        set_ahead(int(nth))
    else:
        kill_at(moment, int(nth), signal.Signals[named[0]] if named else signal.SIGKILL)
    main()
