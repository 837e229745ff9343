"""Saves the state of a device, so that a restarted process goes on exactly where it was."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import IO, Any, Protocol
from uuid import uuid4

from cecochat.client.errors import StateInUse, StateUnusable
from cecochat.domain.device.device import Device


class State(Protocol):
    """Stores one snapshot of a device: its position, its unanswered sends and what was shown.

    A snapshot is a dict that JSON can represent. Implement this to keep it in your own database.
    """

    def load(self) -> dict[str, Any] | None:
        """Return the last snapshot, or None if there is none. Raises `StateUnusable`."""

    async def save(self, snapshot: dict[str, Any]) -> None:
        """Replace the snapshot, atomically. It must be durable when this returns.

        The client never cancels this call, and never makes it again before it has returned.
        """

    def close(self) -> None:
        """Let another process use the state. Calling it again does nothing."""


class FileState:
    """Keeps the state in a JSON file that only its owner may read.

    A lock file beside it keeps out a second client.
    """

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
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
                f"the state in {self._path} cannot be read ({error}): delete the file to start anew"
            ) from None
        if not isinstance(kept, dict):
            raise StateUnusable(f"{self._path} holds no state: delete the file to start anew")
        return kept

    def _take(self) -> None:
        """Lock the state: two clients that share one would each undo what the other has saved."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock = _private(self._path.with_name(f"{self._path.name}.lock"))
        except OSError as error:
            raise StateUnusable(
                f"the state cannot be saved in {self._path} ({error}): choose another place"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise StateInUse(
                f"another client uses the state in {self._path}: give each client its own file"
            ) from None
        self._lock = lock

    def close(self) -> None:
        """See `State`."""
        if self._lock:
            fcntl.flock(self._lock, fcntl.LOCK_UN)  # a forked process may have the file open, too
            self._lock.close()
            self._lock = None

    async def save(self, snapshot: dict[str, Any]) -> None:
        """See `State`."""
        data = json.dumps(snapshot).encode()
        try:
            await asyncio.to_thread(self._write, data)
        except RuntimeError:  # the interpreter is ending, and starts no thread any more
            self._write(data)

    def _write(self, data: bytes) -> None:
        beside = self._path.with_name(f"{self._path.name}.new")
        beside.unlink(missing_ok=True)  # left by a process that died, perhaps with other rights
        with _private(beside) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)


def _private(path: Path) -> IO[bytes]:
    """Open a file that only its owner may read: it holds messages that have not been sent yet."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def restored(state: State | None, user_id: str) -> Device:
    """Return the device that a state holds, or a new one. Raises `StateUnusable`."""
    snapshot = state.load() if state else None
    if snapshot is None:
        return Device(user_id, device_id=uuid4().hex)
    try:
        device = Device.restored(snapshot)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise StateUnusable(
            f"the saved state is damaged ({error!r}): delete it to start anew"
        ) from None
    if device.user_id != user_id:
        raise StateUnusable(
            f"the saved state belongs to {device.user_id}, but the token to {user_id}: "
            "use a state of its own for each user"
        )
    return device


async def to_its_end(saving: Coroutine[Any, Any, None]) -> None:
    """Let a save finish before a cancellation takes effect, so that two saves never overlap."""
    task = asyncio.create_task(saving)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
