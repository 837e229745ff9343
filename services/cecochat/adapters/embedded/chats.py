"""The lists of chats on SQLite: dialogs as they stand there, and groups by who belongs to them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice

from cecochat.adapters.embedded import changes
from cecochat.adapters.embedded.groups import last_id_of, options_at
from cecochat.adapters.embedded.sqlite import snapshot
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.log.spans import STILL
from cecochat.ports.groups import Line, memberships, standing_of
from cecochat.ports.history import MARKS_MAX, UNREAD_MAX, ChatRow, GroupLine, MarkRow

DIALOGS = """SELECT chat_id, last_message_id
    FROM chats_by_user JOIN messages USING (chat_id)
    WHERE chats_by_user.user_id = ? AND message_id = last_message_id
    AND substr(chat_id, 1, 2) <> 'g:' AND """
NEWEST_DIALOGS = f"{DIALOGS} last_message_id < ? ORDER BY last_message_id DESC LIMIT ?"
DIALOGS_BY_ID = f"{DIALOGS} chat_id > ? ORDER BY chat_id LIMIT ?"
GROUPS = """SELECT chat_id, event_id, role, is_invited FROM members WHERE user_id = ?
    ORDER BY chat_id, event_id"""
EVENT = "SELECT event FROM messages WHERE chat_id = ? AND message_id = ?"
UNREAD = """WITH newest AS (SELECT message_id, user_id FROM messages WHERE chat_id = ?2
        AND message_id > ?3 AND message_id <= ?4 AND user_id <> ''
        ORDER BY message_id DESC LIMIT ?5),
    unread AS (SELECT * FROM newest WHERE user_id <> ?1 AND NOT EXISTS (
        SELECT 1 FROM standing_changes AS standing
        WHERE standing.chat_id = ?2 AND standing.message_id = newest.message_id
        AND kind = 'deletion' AND key IN ('', newest.user_id)))
    SELECT (SELECT count(*) FROM newest), count(*),
        count(*) FILTER (WHERE instr(' ' || user_ids || ' ', ' ' || ?1 || ' '))
    FROM unread LEFT JOIN standing_changes AS edit ON edit.chat_id = ?2
        AND edit.message_id = unread.message_id AND kind = 'edit' AND key = unread.user_id
        AND change_id <= ?6
    LEFT JOIN mentions ON mentions.chat_id = ?2
        AND event_id = coalesce(change_id, unread.message_id)"""
MARKS = """SELECT chat_id, user_id, delivered_up_to, read_up_to, settings FROM marks
    WHERE chat_id = ? ORDER BY user_id LIMIT ?"""
MARK = """SELECT chat_id, user_id, delivered_up_to, read_up_to, settings FROM marks
    WHERE chat_id = ? AND user_id = ?"""


def newest(
    user_id: UserId, below: int, limit: int, connection: sqlite3.Connection
) -> list[ChatRow]:
    """Return the user's newest chats below an id, newest first."""
    with snapshot(connection):
        dialogs = connection.execute(NEWEST_DIALOGS, (user_id, below, limit))
        groups = (line for line in _groups(user_id, connection) if line.last_id < below)
        lines = [*(Line(*row) for row in dialogs), *groups]
        lines.sort(key=lambda line: line.last_id, reverse=True)
        return _rows(user_id, lines, limit, connection)


def by_id(user_id: UserId, after: str, limit: int, connection: sqlite3.Connection) -> list[ChatRow]:
    """Return the user's chats above an id, by id."""
    with snapshot(connection):
        dialogs = connection.execute(DIALOGS_BY_ID, (user_id, after, limit))
        groups = (line for line in _groups(user_id, connection) if line.chat_id > after)
        lines = sorted([*(Line(*row) for row in dialogs), *groups])
        return _rows(user_id, lines, limit, connection)


def marks(chat_id: ChatId, connection: sqlite3.Connection) -> list[MarkRow]:
    """Return all marks of a chat, by user id."""
    return [MarkRow(*row) for row in connection.execute(MARKS, (chat_id, -1))]


def marks_in_group(
    chat_id: ChatId, user_id: UserId, connection: sqlite3.Connection
) -> list[MarkRow]:
    """Like `History.marks_in_group`."""
    rows = connection.execute(MARKS, (chat_id, MARKS_MAX + 1)).fetchall()
    if len(rows) > MARKS_MAX:
        return _mark(chat_id, user_id, connection)
    return [MarkRow(*row) for row in rows]


def _mark(chat_id: ChatId, user_id: UserId, connection: sqlite3.Connection) -> list[MarkRow]:
    return [MarkRow(*row) for row in connection.execute(MARK, (chat_id, user_id))]


def _groups(user_id: UserId, connection: sqlite3.Connection) -> Iterator[Line]:
    """Yield the groups to which a user belongs or did, with the last events that they see."""
    rows = connection.execute(GROUPS, (user_id,)).fetchall()
    for line in memberships((row[0], standing_of(*row[1:])) for row in rows):
        last_id = last_id_of(line.chat_id, connection)
        yield line._replace(last_id=min(line.last_id, last_id))


def _rows(
    user_id: UserId, lines: Iterable[Line], limit: int, connection: sqlite3.Connection
) -> list[ChatRow]:
    rows = (_row(user_id, line, connection) for line in lines)
    return list(islice(filter(None, rows), limit))


def _row(user_id: UserId, line: Line, connection: sqlite3.Connection) -> ChatRow | None:
    """Return a line of the list; None if its message is missing."""
    chat_id, last_id, _, standing = line
    event = connection.execute(EVENT, (chat_id, last_id)).fetchone()
    if event is None:
        return None
    marks_ = _mark(chat_id, user_id, connection) if standing else marks(chat_id, connection)
    read_up_to = next((mark.read_up_to for mark in marks_ if mark.user_id == user_id), 0)
    counts = _unread(user_id, line, read_up_to, connection)
    group = None
    if standing:
        group = GroupLine(standing.role, options_at(chat_id, last_id, connection))
    last_change_id = line.shown_change(changes.last_id(chat_id, connection))
    of_last = tuple(changes.of_message(chat_id, last_id, connection))
    return ChatRow(chat_id, last_id, event[0], *counts, marks_, last_change_id, of_last, group)


def _unread(
    user_id: UserId, line: Line, read_up_to: int, connection: sqlite3.Connection
) -> tuple[int, int]:
    """Count what others wrote above `read_up_to` while the user belonged to the chat, among the
    last `UNREAD_MAX` messages, and how much of it mentions the user.
    """
    looked_at = unread = mentions = 0
    edits_up_to = line.shown_change(STILL)
    for first_id, last_id in reversed(line.stays):
        above = max(read_up_to, first_id - 1)
        bound = (user_id, line.chat_id, above, last_id, UNREAD_MAX - looked_at, edits_up_to)
        of_all, of_others, naming = connection.execute(UNREAD, bound).fetchone()
        looked_at, unread, mentions = looked_at + of_all, unread + of_others, mentions + naming
        if looked_at == UNREAD_MAX or first_id <= read_up_to:
            break
    return unread, mentions
