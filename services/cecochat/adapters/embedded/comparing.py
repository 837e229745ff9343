"""Finds which rows the history on SQLite lacks."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Any

from cecochat.adapters.embedded.groups import options_rows, people_rows
from cecochat.adapters.embedded.mentions import names
from cecochat.ports.history import Lacking, MarkRow, MessageRow
from cecochat.ports.joining import highest, last_in_chats

COMPARED = 256  # rows in one statement
# These return only what differs, since each returned row has to wait for the interpreter lock.
LACKING_MESSAGES = """WITH wanted (number, chat, id, event, names) AS (VALUES {rows})
    SELECT number, messages.event IS NULL FROM wanted
    LEFT JOIN messages ON messages.chat_id = chat AND message_id = id
    LEFT JOIN mentions ON mentions.chat_id = chat AND event_id = id
    WHERE messages.event IS NOT wanted.event OR nullif(user_ids, '') IS NOT names"""
LACKING_CHATS = """WITH wanted (number, user, chat, id) AS (VALUES {rows})
    SELECT number, 0 FROM wanted LEFT JOIN chats_by_user ON user_id = user AND chat_id = chat
    WHERE coalesce(last_message_id, 0) < id"""
LACKING_MARKS = """WITH wanted (number, chat, user, delivered, read, said) AS (VALUES {rows})
    SELECT number, 0 FROM wanted LEFT JOIN marks ON chat_id = chat AND user_id = user
    WHERE coalesce(delivered_up_to, 0) < delivered OR coalesce(read_up_to, 0) < read
    OR coalesce(settings, x'') < said"""
LACKING_CHANGES = """WITH wanted (number, chat, id, event, names, message, kind, key)
    AS (VALUES {rows})
    SELECT number, changes.event IS NULL OR coalesce(standing.change_id, 0) < id FROM wanted
    LEFT JOIN changes ON changes.chat_id = chat AND changes.change_id = id
    LEFT JOIN standing_changes AS standing ON standing.chat_id = chat
        AND standing.message_id = message AND standing.kind = wanted.kind
        AND standing.key = wanted.key
    LEFT JOIN mentions ON mentions.chat_id = chat AND event_id = id
    WHERE changes.event IS NOT wanted.event OR coalesce(standing.change_id, 0) < id
    OR nullif(user_ids, '') IS NOT names"""
LACKING_PEOPLE = """WITH wanted (number, chat, user, id, role, invited, partition) AS
    (VALUES {rows})
    SELECT number, 0 FROM wanted EXCEPT
    SELECT number, 0 FROM wanted JOIN members ON chat_id = chat AND user_id = user
    AND event_id = id AND members.role = wanted.role AND is_invited = invited
    AND members.partition = wanted.partition"""
LACKING_OPTIONS = """WITH wanted (number, place, chat, id, said) AS (VALUES {rows})
    SELECT number, 0 FROM wanted LEFT JOIN options
    ON home = place AND chat_id = chat AND event_id = id WHERE options IS NOT said"""


def lacking(
    rows: Sequence[MessageRow], marks: Sequence[MarkRow], connection: sqlite3.Connection
) -> Lacking:
    """Like `History.lacking`."""

    differs = partial(_differing, connection)
    messages = [row for row in rows if not row.about]
    changes = [row for row in rows if row.about]
    chats, joined_marks = list(last_in_chats(messages).items()), highest(marks)
    wanted = [_wanted(row) for row in messages]
    changes_wanted = [(*_wanted(row), *(row.about or ())) for row in changes]
    incomplete = _incomplete(messages, connection)
    found = [
        *((row, 1) for row in incomplete),
        *(
            (messages[number], absent)
            for number, absent in differs(LACKING_MESSAGES, wanted)
            if messages[number] not in incomplete
        ),
        *((changes[number], absent) for number, absent in differs(LACKING_CHANGES, changes_wanted)),
    ]
    behind = differs(LACKING_CHATS, [(*key, row.message_id) for key, row in chats])
    return Lacking(
        [row for row, absent in found if absent],
        [row for row, absent in found if not absent],
        [(chats[number][0][0], chats[number][1]) for number, _ in behind],
        [joined_marks[number] for number, _ in differs(LACKING_MARKS, joined_marks)],
    )


def _wanted(row: MessageRow) -> tuple[str | int | bytes | None, ...]:
    return row.chat_id, row.message_id, row.event, names(row)


def _incomplete(messages: Sequence[MessageRow], connection: sqlite3.Connection) -> list[MessageRow]:
    """Return the changes of groups of which a part is missing."""
    people = [(at, row) for at, message in enumerate(messages) for row in people_rows(message)]
    options = [(at, row) for at, message in enumerate(messages) for row in options_rows(message)]
    parts = ((LACKING_PEOPLE, people), (LACKING_OPTIONS, options))
    numbers = {
        rows[number][0]
        for sql, rows in parts
        for number, _ in _differing(connection, sql, [row for _, row in rows])
    }
    return [messages[number] for number in sorted(numbers)]


def _differing(
    connection: sqlite3.Connection, sql: str, wanted: Sequence[tuple[Any, ...]]
) -> list[tuple[int, int]]:
    """Return the numbers of the rows that differ, and whether each is absent."""
    return [
        row
        for at in range(0, len(wanted), COMPARED)
        for row in _compared(connection, sql, at, wanted[at : at + COMPARED])
    ]


def _compared(
    connection: sqlite3.Connection, sql: str, first: int, wanted: Sequence[tuple[Any, ...]]
) -> list[tuple[int, int]]:
    """Return the numbers of the rows that differ, counted from `first` on, and whether each is
    absent.
    """
    row_sql = f"({','.join('?' * (len(wanted[0]) + 1))})"
    values = [value for number, row in enumerate(wanted, first) for value in (number, *row)]
    return connection.execute(sql.format(rows=",".join([row_sql] * len(wanted))), values).fetchall()
