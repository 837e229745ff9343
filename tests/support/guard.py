"""What tests start ends with them, however they end: by a signal, by SIGKILL, in a timeout.

All that a process starts inherits its environment, and so a mark. A guard waits until that process
is gone, and then kills whatever bears the mark: also what others started in between, in a session
of its own, or in a thread that has ended. It looks in /proc; where there is none, such as on macOS,
it finds nothing.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

MARK = "TESTS_THAT_STARTED_THIS"
AGAIN_AFTER_S = 0.1
GIVEN_UP_AFTER_S = 30.0


def begin() -> Callable[[], None]:
    """From here on, what this process starts is guarded. Returns what ends all of it by itself."""
    mark = secrets.token_hex(16)
    guard = subprocess.Popen(
        [sys.executable, "-I", __file__, mark],
        stdin=subprocess.PIPE,  # its end tells the guard that this process is gone
        env=unmarked(),
        start_new_session=True,  # what ends this process and its group does not end the guard
    )
    os.environ[MARK] = mark

    def end() -> None:
        os.environ.pop(MARK, None)
        guard.communicate()

    return end


def unmarked() -> dict[str, str]:
    """The environment of what goes on after the tests, such as a machine of the test cluster."""
    return {name: value for name, value in os.environ.items() if name != MARK}


def main(mark: str) -> None:
    """Wait, then kill until nothing is left, not even what was being started just now."""
    sys.stdin.buffer.read()
    until = time.monotonic() + GIVEN_UP_AFTER_S
    found_none = 0
    while found_none < 2 and time.monotonic() < until:
        found_none += not _kill(mark)
        time.sleep(AGAIN_AFTER_S)


def _kill(mark: str) -> bool:
    """Whether there was anything to kill."""
    found = list(_bearers(mark))
    for pid in found:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(found)


def _bearers(mark: str) -> Iterator[int]:
    entry = f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it is gone by now, or somebody else's
            if entry in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)


if __name__ == "__main__":
    main(sys.argv[1])
