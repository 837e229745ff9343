"""The table of holes in the history on SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from cecochat.adapters.embedded.sqlite import Rows
from cecochat.ports.history import Hole

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS holes (
        log_id TEXT NOT NULL,
        partition INTEGER NOT NULL,
        first_offset INTEGER NOT NULL,
        last_offset INTEGER NOT NULL,
        first_id INTEGER NOT NULL,
        last_id INTEGER NOT NULL,
        chat_id TEXT NOT NULL,
        reason TEXT NOT NULL,
        text TEXT NOT NULL,
        found_at_ms INTEGER NOT NULL,
        acknowledged_at_ms INTEGER NOT NULL,
        acknowledged_by TEXT NOT NULL,
        user_id TEXT NOT NULL,
        client_message_id TEXT NOT NULL,
        PRIMARY KEY (log_id, partition, first_offset, last_offset, first_id, chat_id, reason))
        WITHOUT ROWID""",
)
_PUT = Rows(
    "INSERT OR ROLLBACK INTO holes",
    14,
    """ON CONFLICT DO UPDATE SET
    last_id = excluded.last_id, text = excluded.text, found_at_ms = excluded.found_at_ms,
    user_id = excluded.user_id, client_message_id = excluded.client_message_id""",
)
_ACKNOWLEDGE = """UPDATE holes SET acknowledged_at_ms = ?, acknowledged_by = ?
    WHERE log_id = ? AND partition = ? AND first_offset = ? AND last_offset = ? AND first_id = ?
    AND chat_id = ? AND reason = ?"""
_CLOSE = """DELETE FROM holes
    WHERE log_id = ? AND partition = ? AND first_offset = ? AND last_offset = ? AND first_id = ?
    AND chat_id = ? AND reason = ?"""


def write(connection: sqlite3.Connection, holes: Sequence[Hole]) -> None:
    """Store holes. Those that are there already take the new values and stay acknowledged."""
    _PUT.write(connection, holes)


def read(connection: sqlite3.Connection) -> list[Hole]:
    """Return all holes, sorted by partition and offset."""
    select = "SELECT * FROM holes ORDER BY partition, first_offset, last_offset, first_id"
    return [Hole(*row) for row in connection.execute(select)]


def acknowledge(connection: sqlite3.Connection, hole: Hole, by: str, at_ms: int) -> None:
    """Note who has acknowledged a hole. If the hole is gone, nothing happens."""
    connection.execute(_ACKNOWLEDGE, (at_ms, by, *_key(hole)))


def close(connection: sqlite3.Connection, hole: Hole) -> None:
    """Remove a hole."""
    connection.execute(_CLOSE, _key(hole))


def _key(hole: Hole) -> tuple[str | int, ...]:
    return (*hole[:5], hole.chat_id, hole.reason)
