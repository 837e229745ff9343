"""The tables of changes in the history on SQLite: all of them in the order of their ids, and those
that count by the message that they change.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from cecochat.adapters.embedded.sqlite import Rows
from cecochat.domain.log.ids import ChatId
from cecochat.ports.history import CHANGES_MAX, MessageRow

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS changes (
        chat_id TEXT NOT NULL,
        change_id INTEGER NOT NULL,
        event BLOB NOT NULL,
        PRIMARY KEY (chat_id, change_id)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS standing_changes (
        chat_id TEXT NOT NULL,
        message_id INTEGER NOT NULL,
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        change_id INTEGER NOT NULL,
        PRIMARY KEY (chat_id, message_id, kind, key)) WITHOUT ROWID""",
)
_NEW = Rows("INSERT OR ROLLBACK INTO changes", 3, "ON CONFLICT DO NOTHING")
_RESTORED = Rows("INSERT OR REPLACE INTO changes", 3)
_BLANKED = "UPDATE changes SET event = ? WHERE chat_id = ? AND change_id = ?"
_STANDING = Rows(
    "INSERT OR ROLLBACK INTO standing_changes",
    5,
    """ON CONFLICT DO UPDATE SET change_id = excluded.change_id
    WHERE excluded.change_id > change_id""",
)
_OF_MESSAGE = """SELECT event FROM standing_changes JOIN changes USING (chat_id, change_id)
    WHERE standing_changes.chat_id = ? AND message_id = ? ORDER BY kind, key LIMIT ?"""
_ANY = """SELECT EXISTS (SELECT 1 FROM standing_changes
    WHERE chat_id = ? AND message_id BETWEEN ? AND ?)"""
_LAST = "SELECT coalesce(max(change_id), 0) FROM changes WHERE chat_id = ?"


def write(
    connection: sqlite3.Connection, rows: Sequence[MessageRow], *, restored: bool = False
) -> None:
    """Store those of these rows that are changes; if `restored`, over what is there."""
    changes = [(row, row.about) for row in rows if row.about]
    all_ = [(row.chat_id, row.message_id, row.event) for row, _ in changes]
    (_RESTORED if restored else _NEW).write(connection, all_)
    _STANDING.write(connection, [(row.chat_id, *about, row.message_id) for row, about in changes])


def blank(connection: sqlite3.Connection, rows: Sequence[MessageRow]) -> None:
    """Store these changes over those that are there."""
    named = [(row.event, row.chat_id, row.message_id) for row in rows]
    connection.executemany(_BLANKED, named)


def read(
    chat_id: ChatId, message_ids: Sequence[int], connection: sqlite3.Connection
) -> dict[int, list[bytes]]:
    """Like `History.changes`. Where there is none, as in most pages, one statement says so."""
    if not message_ids:
        return {}
    (some,) = connection.execute(_ANY, (chat_id, min(message_ids), max(message_ids))).fetchone()
    if not some:
        return {}
    found = {id_: of_message(chat_id, id_, connection) for id_ in message_ids}
    return {id_: changes for id_, changes in found.items() if changes}


def of_message(chat_id: ChatId, message_id: int, connection: sqlite3.Connection) -> list[bytes]:
    """Return the changes of one message that count."""
    bound = (chat_id, message_id, CHANGES_MAX)
    return [event for (event,) in connection.execute(_OF_MESSAGE, bound)]


def last_id(chat_id: ChatId, connection: sqlite3.Connection) -> int:
    """Return the highest id of a change in a chat; 0 if there is none."""
    (id_,) = connection.execute(_LAST, (chat_id,)).fetchone()
    return int(id_)
