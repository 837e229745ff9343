"""The members of groups on SQLite: one row for each person whom a change names."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Final

from typing_extensions import override

from cecochat.adapters.embedded import changes
from cecochat.adapters.embedded.sqlite import Database, Rows, snapshot
from cecochat.domain.groups.changes import Seen, Standing, as_group, seen, stays
from cecochat.domain.groups.group import Group
from cecochat.domain.log.ids import ChatId, UserId, partition_in
from cecochat.ports.groups import Groups, Resident, StandingRow, residents, standing_of
from cecochat.ports.history import MessageRow
from cecochat.v1.events_pb2 import GroupOptions

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS members (
        chat_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        event_id INTEGER NOT NULL,
        role INTEGER NOT NULL,
        is_invited INTEGER NOT NULL,
        partition INTEGER NOT NULL,
        PRIMARY KEY (chat_id, user_id, event_id)) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS members_by_user ON members (user_id, chat_id, event_id)",
    """CREATE INDEX IF NOT EXISTS members_by_partition
        ON members (partition, chat_id, user_id, event_id)""",
    """CREATE TABLE IF NOT EXISTS options (
        home INTEGER NOT NULL,
        chat_id TEXT NOT NULL,
        event_id INTEGER NOT NULL,
        options BLOB NOT NULL,
        PRIMARY KEY (home, chat_id, event_id)) WITHOUT ROWID""",
)
MEMBERS = Rows("INSERT OR ROLLBACK INTO members", 6, "ON CONFLICT DO NOTHING")
OPTIONS = Rows("INSERT OR ROLLBACK INTO options", 4, "ON CONFLICT DO NOTHING")
RESTORED_MEMBERS = Rows("INSERT OR REPLACE INTO members", 6)
RESTORED_OPTIONS = Rows("INSERT OR REPLACE INTO options", 4)

STANDINGS = """SELECT event_id, role, is_invited FROM members WHERE chat_id = ? AND user_id = ?
    ORDER BY event_id"""
OF_USER = "SELECT DISTINCT chat_id FROM members WHERE user_id = ? ORDER BY chat_id"
LAST_ID = "SELECT last_message_id FROM chats_by_user WHERE user_id = ? AND chat_id = ?"
OPTIONS_AT = """SELECT options FROM options WHERE home = ? AND chat_id = ? AND event_id <= ?
    ORDER BY event_id DESC LIMIT 1"""
# SQLite takes the other columns from the row with the maximum (sqlite.org/lang_select.html,
# "Bare columns in an aggregate query").
READ = "SELECT count(*) FROM marks WHERE chat_id = ? AND read_up_to >= ?"
PEOPLE = """SELECT user_id, max(event_id), role, is_invited FROM members
    WHERE chat_id = ? AND event_id <= ? AND user_id > ?
    GROUP BY user_id HAVING role <> 0 OR is_invited ORDER BY user_id LIMIT ?"""
IN_HOME = """SELECT DISTINCT chat_id FROM options WHERE home = ? AND chat_id > ? AND event_id <= ?
    ORDER BY chat_id LIMIT ?"""
OF_GROUP = """SELECT user_id, event_id, role, is_invited FROM members
    WHERE chat_id = ? AND event_id <= ?"""
IN_PARTITION = """SELECT chat_id, user_id, event_id, role, is_invited FROM members
    WHERE partition = ? AND (chat_id, user_id, event_id) > (?, ?, ?)
    ORDER BY chat_id, user_id, event_id LIMIT ?"""

GROUPS_AT_ONCE: Final = 16
ROWS_AT_ONCE: Final = 1_000


def write(
    connection: sqlite3.Connection, messages: Iterable[MessageRow], *, restored: bool = False
) -> None:
    """Store what the changes of groups among these rows come to; if `restored`, over what is
    there.
    """
    changes = [row for row in messages if row.membership]
    if changes:
        people = [row for change in changes for row in people_rows(change)]
        (RESTORED_MEMBERS if restored else MEMBERS).write(connection, people)
        options = [row for change in changes for row in options_rows(change)]
        (RESTORED_OPTIONS if restored else OPTIONS).write(connection, options)


def people_rows(row: MessageRow) -> Iterator[tuple[str | int, ...]]:
    """Yield the rows of the people whom a change names."""
    for user_id, partition, standing in row.membership.people if row.membership else ():
        yield row.chat_id, user_id, *standing, partition


def options_rows(row: MessageRow) -> Iterator[tuple[str | int | bytes, ...]]:
    """Yield the row of the options that a change sets, if it sets any."""
    if row.membership and row.membership.options is not None:
        yield partition_in(row.message_id), row.chat_id, row.message_id, row.membership.options


class EmbeddedGroups(Groups):
    """The tables of members in `history.db`. Each write is one transaction, so all that is stored
    may be shown.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @override
    async def seen(self, user_id: UserId, chat_id: ChatId) -> Seen | None:
        return await self._database.read(partial(_seen, user_id, chat_id))

    @override
    async def of_user(self, user_id: UserId) -> list[ChatId]:
        return [chat_id for (chat_id,) in await self._all(OF_USER, user_id)]

    @override
    async def options(self, chat_id: ChatId, at: int) -> bytes:
        return await self._database.read(partial(options_at, chat_id, at))

    @override
    async def count_read(self, chat_id: ChatId, message_id: int) -> int:
        def read(connection: sqlite3.Connection) -> int:
            return int(connection.execute(READ, (chat_id, message_id)).fetchone()[0])

        return await self._database.read(read)

    @override
    async def people(
        self, chat_id: ChatId, *, at: int, after: str, limit: int
    ) -> tuple[list[tuple[UserId, Standing]], bool]:
        rows = await self._all(PEOPLE, chat_id, at, after, limit + 1)
        found = [(user_id, standing_of(*standing)) for user_id, *standing in rows]
        return found[:limit], len(rows) > limit

    @override
    async def homed_in(self, partition: int, up_to: int) -> AsyncGenerator[Group]:
        after, more = "", True
        while more:
            rows = await self._all(IN_HOME, partition, after, up_to, GROUPS_AT_ONCE)
            for (after,) in rows:
                yield await self._database.read(partial(_group, ChatId(after), up_to))
            more = len(rows) == GROUPS_AT_ONCE

    @override
    async def living_in(self, partition: int, up_to: Mapping[int, int]) -> AsyncGenerator[Resident]:
        async for resident in residents(self._living_in(partition), up_to):
            yield resident

    async def _living_in(self, partition: int) -> AsyncGenerator[list[StandingRow]]:
        after, more = ("", "", 0), True
        while more:
            rows = await self._all(IN_PARTITION, partition, *after, ROWS_AT_ONCE)
            yield [(*row[:2], standing_of(*row[2:])) for row in rows]
            more = len(rows) == ROWS_AT_ONCE
            after = rows[-1][:3] if rows else after

    async def _all(self, sql: str, *bound: str | int) -> list[tuple[Any, ...]]:
        return await self._database.read(lambda opened: opened.execute(sql, bound).fetchall())


def last_id_of(chat_id: ChatId, connection: sqlite3.Connection) -> int:
    """Return the id of the last event of a group but changes of messages; 0 if there is none."""
    found: tuple[int] | None = connection.execute(LAST_ID, (chat_id, chat_id)).fetchone()
    return found[0] if found else 0


def options_at(chat_id: ChatId, at: int, connection: sqlite3.Connection) -> bytes:
    """Return the options of a group just after an event; empty if it had none."""
    bound = (partition_in(at), chat_id, at)
    found: tuple[bytes] | None = connection.execute(OPTIONS_AT, bound).fetchone()
    return found[0] if found else b""


def _seen(user_id: UserId, chat_id: ChatId, connection: sqlite3.Connection) -> Seen | None:
    with snapshot(connection):  # or a later event might be taken for the last
        found = [standing_of(*row) for row in connection.execute(STANDINGS, (chat_id, user_id))]
        spans = stays(found)
        if not spans:
            return None
        last_ids = last_id_of(chat_id, connection), changes.last_id(chat_id, connection)
        up_to = max(*last_ids, found[-1].event_id)
        options = (options_at(chat_id, each.first_id, connection) for each in spans)
        shows_past = [not GroupOptions.FromString(each).hides_past for each in options]
        return seen(found[-1], spans, shows_past, up_to)


def _group(chat_id: ChatId, up_to: int, connection: sqlite3.Connection) -> Group:
    rows = connection.execute(OF_GROUP, (chat_id, up_to))
    people = [(user_id, standing_of(*standing)) for user_id, *standing in rows]
    options = GroupOptions.FromString(options_at(chat_id, up_to, connection))
    return as_group(chat_id, people, options)
