"""Notes what an import has done: which lines are answered, and the state of each sender's device.

Both change in one transaction, so they agree whenever the process dies. A line counts as answered
when its send has left the outbox of the device. The client saves a send before it leaves, so one
that was never saved was never sent.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
from pathlib import Path
from typing import Any

from cecochat.client import StateInUse
from cecochat.settings import private

SCHEMA = """
    CREATE TABLE IF NOT EXISTS devices (user_id TEXT PRIMARY KEY, snapshot TEXT NOT NULL);
    CREATE TABLE IF NOT EXISTS answered (
        user_id TEXT, client_message_id TEXT, PRIMARY KEY (user_id, client_message_id)
    ) WITHOUT ROWID;
"""


class Ledger:
    """A SQLite file for one import file and one system. One process may have it open at a time."""

    def __init__(self, path: Path) -> None:
        """Open the file, or make it. Raises `StateInUse` if another process has it open."""
        private.make_folder(path.parent)
        private.make_file(path)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, timeout=0)
        try:
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(f"BEGIN EXCLUSIVE; {SCHEMA} COMMIT;")
        except sqlite3.OperationalError as error:
            self._database.close()
            raise StateInUse(
                f"another process is importing this file ({error}): wait until it is done"
            ) from None

    def is_answered(self, user_id: str, client_message_id: str) -> bool:
        """Return whether a line needs nothing more."""
        with self._lock:
            found = self._database.execute(
                "SELECT 1 FROM answered WHERE user_id = ? AND client_message_id = ?",
                (user_id, client_message_id),
            )
            return found.fetchone() is not None

    def snapshot(self, user_id: str) -> dict[str, Any] | None:
        """Return the last saved state of a sender's device, or None."""
        with self._lock:
            row = self._database.execute(
                "SELECT snapshot FROM devices WHERE user_id = ?", (user_id,)
            ).fetchone()
        return json.loads(row[0]) if row else None

    def keep(self, user_id: str, snapshot: dict[str, Any], answered: set[str]) -> None:
        """Save a device, and which of its sends are answered, in one transaction."""
        with self._lock, self._database:
            self._database.executemany(
                "INSERT OR IGNORE INTO answered VALUES (?, ?)",
                [(user_id, each) for each in answered],
            )
            self._database.execute(
                "INSERT OR REPLACE INTO devices VALUES (?, ?)", (user_id, json.dumps(snapshot))
            )

    def close(self) -> None:
        """Close the file, so that another process can open it."""
        with self._lock:
            self._database.close()


class SenderState:
    """The `State` of one sender's device, kept in the ledger."""

    def __init__(self, ledger: Ledger, user_id: str) -> None:
        self._ledger = ledger
        self._user_id = user_id
        self.unanswered: set[str] = set()  # client message ids, as last saved

    def load(self) -> dict[str, Any] | None:
        """See `State`."""
        snapshot = self._ledger.snapshot(self._user_id)
        self.unanswered = _outbox(snapshot) if snapshot else set()
        return snapshot

    async def save(self, snapshot: dict[str, Any]) -> None:
        """See `State`."""
        now = _outbox(snapshot)
        answered = self.unanswered - now
        await asyncio.to_thread(self._ledger.keep, self._user_id, snapshot, answered)
        self.unanswered = now

    def close(self) -> None:
        """See `State`."""


def _outbox(snapshot: dict[str, Any]) -> set[str]:
    return {send["clientMessageId"] for send in snapshot["outbox"]}
