"""Where a device's state is kept, so that a restarted process goes on exactly where it was."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from pathlib import Path
from typing import IO, Any, Protocol

from cecochat.client.errors import StateInUse, StateUnusable


class State(Protocol):
    """Keeps one snapshot, in one piece: position, unanswered sends and what was shown."""

    def load(self) -> dict[str, Any] | None:
        """The snapshot that was saved last; None: there is none. Raises `StateUnusable`."""

    async def save(self, snapshot: dict[str, Any]) -> None:
        """Replace it; durable when this returns, whole or not at all if the process dies.

        The client neither cancels it nor calls it again before it returns.
        """

    def close(self) -> None:
        """Let another process have it. Idempotent."""


class FileState:
    """A JSON file, replaced by a rename. One client at a time: a lock file beside it says so."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: IO[bytes] | None = None

    def load(self) -> dict[str, Any] | None:
        """See `State`."""
        self._take()
        try:
            kept = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StateUnusable(
                f"the state in {self._path} cannot be read ({error}): delete it to start anew"
            ) from None
        if not isinstance(kept, dict):
            raise StateUnusable(f"{self._path} holds no state: delete it to start anew")
        return kept

    def _take(self) -> None:
        """Lock it: two clients with one state would each undo what the other has kept."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock = _private(self._path.with_name(f"{self._path.name}.lock"))
        except OSError as error:
            raise StateUnusable(f"the state in {self._path} cannot be kept: {error}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise StateInUse(
                f"another client uses the state in {self._path}: give each its own"
            ) from None
        self._lock = lock

    def close(self) -> None:
        """See `State`."""
        if self._lock:
            self._lock.close()
            self._lock = None

    async def save(self, snapshot: dict[str, Any]) -> None:
        """See `State`."""
        await asyncio.to_thread(self._write, json.dumps(snapshot).encode())

    def _write(self, data: bytes) -> None:
        beside = self._path.with_name(f"{self._path.name}.new")
        beside.unlink(missing_ok=True)  # of a process that died, with rights of its own
        with _private(beside) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)


def _private(path: Path) -> IO[bytes]:
    """To write: it holds messages that were not sent yet, for its owner alone."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
