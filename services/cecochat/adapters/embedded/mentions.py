"""The table of mentions in the history on SQLite: a row for each message and each edit whose text
mentions somebody. It is not a column, since an earlier version writes all columns that it finds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from cecochat.adapters.embedded.sqlite import Rows
from cecochat.ports.history import MessageRow

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS mentions (
        chat_id TEXT NOT NULL,
        event_id INTEGER NOT NULL,
        user_ids TEXT NOT NULL,
        PRIMARY KEY (chat_id, event_id)) WITHOUT ROWID""",
)
_NEW = Rows("INSERT OR ROLLBACK INTO mentions", 3, "ON CONFLICT DO NOTHING")
_RESTORED = Rows("INSERT OR REPLACE INTO mentions", 3)
_BLANKED = "UPDATE mentions SET user_ids = '' WHERE chat_id = ? AND event_id = ?"
_NOBODY = "DELETE FROM mentions WHERE chat_id = ? AND event_id = ?"


def write(
    connection: sqlite3.Connection, rows: Sequence[MessageRow], *, restored: bool = False
) -> None:
    """Store whom these messages and edits mention; if `restored`, over what is there."""
    stored = [(row.chat_id, row.message_id, names(row)) for row in rows if row.mentioned]
    (_RESTORED if restored else _NEW).write(connection, stored)
    if restored:
        others = ((row.chat_id, row.message_id) for row in rows if not row.mentioned)
        connection.executemany(_NOBODY, others)


def blank(connection: sqlite3.Connection, rows: Sequence[MessageRow]) -> None:
    """Store that these messages and edits mention nobody any more. The rows stay, so that writing
    the old ones again changes nothing.
    """
    connection.executemany(_BLANKED, [(row.chat_id, row.message_id) for row in rows])


def names(row: MessageRow) -> str | None:
    """Return whom a message or an edit mentions as it is stored: the user ids, in which there are
    no spaces, with spaces between them. None: nobody.
    """
    return " ".join(row.mentioned) or None
