"""Replaces messages and edits in the history on SQLite by what says nothing any more."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from cecochat.adapters.embedded import changes, mentions
from cecochat.ports.history import MessageRow

BLANKED = "UPDATE messages SET event = ?, user_id = '' WHERE chat_id = ? AND message_id = ?"


def blank(rows: Sequence[MessageRow], connection: sqlite3.Connection) -> None:
    """Like `History.blank`. What is replaced is overwritten in the file."""
    connection.execute("PRAGMA secure_delete = ON")
    try:
        messages = [row for row in rows if not row.about]
        named = [(row.event, row.chat_id, row.message_id) for row in messages]
        connection.executemany(BLANKED, named)
        changes.blank(connection, [row for row in rows if row.about])
        mentions.blank(connection, rows)
    finally:
        connection.execute("PRAGMA secure_delete = OFF")
