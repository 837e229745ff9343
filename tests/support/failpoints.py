"""`python -m tests.support.failpoints serve ...`: `cecochat` that is killed at a named moment.

FAILPOINT=forward:40 ends the process, as SIGKILL does, at the 40th time it gets there. What is
patched is looked up by name, so that one that has been renamed fails the start.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from cecochat.cli.main import main
from cecochat.materialize.worker import Materializer
from cecochat.messaging.forward import Forwarding

VARIABLE = "FAILPOINT"

MOMENTS: dict[str, tuple[type, str]] = {
    # An origin is in the log, acknowledged or about to be, and no copy of it is on its way.
    "forward": (Forwarding, "forward"),
    # The rows are in the database, and the group's offset does not say so.
    "commit": (Materializer, "_commit"),
}


def kill_at(name: str, nth: int) -> None:
    """Arm it."""
    owner, method = MOMENTS[name]
    real: Callable[..., Any] = getattr(owner, method)
    hits = 0

    def counted(*args: Any, **named: Any) -> Any:
        nonlocal hits
        hits += 1
        if hits == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **named)

    setattr(owner, method, counted)


if __name__ == "__main__":
    moment, _, number = os.environ[VARIABLE].partition(":")
    kill_at(moment, int(number))
    main()
