"""The history database on SQLite. Writes that arrive together share one commit."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from typing_extensions import override

from cecochat.adapters.embedded import changes as change_tables
from cecochat.adapters.embedded import chats as lists
from cecochat.adapters.embedded import groups as group_tables
from cecochat.adapters.embedded import holes as hole_table
from cecochat.adapters.embedded import mentions as mention_table
from cecochat.adapters.embedded.blanking import blank
from cecochat.adapters.embedded.comparing import lacking
from cecochat.adapters.embedded.groups import EmbeddedGroups
from cecochat.adapters.embedded.sqlite import Database, Rows, Work, add_column, execute_all
from cecochat.domain.errors import Unavailable
from cecochat.domain.log.ids import ChatId, UserId, partition_in
from cecochat.domain.log.place import Place
from cecochat.ports.history import (
    ChatPage,
    ChatRow,
    History,
    Hole,
    Lacking,
    MarkRow,
    MessageRow,
    Page,
    Progress,
    RowsRefused,
)

FILE = "history.db"
ID_MAX = (1 << 63) - 1
CHATS_AT_ONCE = 200

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS messages (
        chat_id TEXT NOT NULL,
        message_id INTEGER NOT NULL,
        user_id TEXT NOT NULL,
        event BLOB NOT NULL,
        PRIMARY KEY (chat_id, message_id)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS chats_by_user (
        user_id TEXT NOT NULL,
        chat_id TEXT NOT NULL,
        last_message_id INTEGER NOT NULL,
        PRIMARY KEY (user_id, chat_id)) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS newest_chats ON chats_by_user (user_id, last_message_id)",
    """CREATE TABLE IF NOT EXISTS marks (
        chat_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        delivered_up_to INTEGER NOT NULL,
        read_up_to INTEGER NOT NULL,
        settings BLOB NOT NULL DEFAULT x'',
        PRIMARY KEY (chat_id, user_id)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS progress (
        log_id TEXT NOT NULL,
        partition INTEGER NOT NULL,
        up_to INTEGER NOT NULL,
        clock_ms INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (log_id, partition)) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS last_ids (
        partition INTEGER PRIMARY KEY,
        last_id INTEGER NOT NULL)""",
    *hole_table.SCHEMA,
    *change_tables.SCHEMA,
    *mention_table.SCHEMA,
    *group_tables.SCHEMA,
)
MESSAGES = Rows("INSERT OR ROLLBACK INTO messages", 4, "ON CONFLICT DO NOTHING")
ONE_MESSAGE = "INSERT INTO messages VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
RESTORED = Rows("INSERT OR REPLACE INTO messages", 4)
CHATS = Rows(
    "INSERT OR ROLLBACK INTO chats_by_user",
    3,
    """ON CONFLICT DO UPDATE SET last_message_id = excluded.last_message_id
    WHERE excluded.last_message_id > last_message_id""",
)
MARKS = Rows(
    "INSERT OR ROLLBACK INTO marks",
    5,
    """ON CONFLICT DO UPDATE SET
    delivered_up_to = max(delivered_up_to, excluded.delivered_up_to),
    read_up_to = max(read_up_to, excluded.read_up_to),
    settings = max(settings, excluded.settings)""",
)
PROGRESS = Rows(
    "INSERT OR ROLLBACK INTO progress",
    4,
    """ON CONFLICT DO UPDATE SET up_to = excluded.up_to, clock_ms = excluded.clock_ms
    WHERE (excluded.clock_ms, excluded.up_to) > (clock_ms, up_to)""",
)
LAST_IDS = Rows(
    "INSERT OR ROLLBACK INTO last_ids",
    2,
    "ON CONFLICT DO UPDATE SET last_id = max(last_id, excluded.last_id)",
)
THESE = """SELECT message_id, event FROM messages WHERE chat_id = ?
    AND message_id IN (SELECT value FROM json_each(?))"""
NEXT_CHAT = "SELECT chat_id FROM messages WHERE chat_id > ? ORDER BY chat_id LIMIT 1"
BELOW = """SELECT event FROM messages WHERE chat_id = ? AND message_id < ?
    ORDER BY message_id DESC LIMIT ?"""
NEWEST = "SELECT event FROM messages WHERE chat_id = ? ORDER BY message_id DESC LIMIT ?"
ABOVE = """SELECT event FROM messages WHERE chat_id = ? AND message_id > ?
    ORDER BY message_id LIMIT ?"""
ALL_ABOVE = """SELECT event, message_id AS id FROM messages WHERE chat_id = ?1 AND message_id > ?2
    UNION ALL SELECT event, change_id FROM changes WHERE chat_id = ?1 AND change_id > ?2
    ORDER BY id LIMIT ?3"""


class _Written(NamedTuple):
    messages: Sequence[MessageRow]
    marks: Sequence[MarkRow]
    progress: Progress | None
    holes: Sequence[Hole] = ()


class _Writes(Work[_Written, None]):
    def __init__(self, messages: Rows, *, restored: bool = False) -> None:
        self._messages = messages
        self._restored = restored

    @override
    def apply(
        self, connection: sqlite3.Connection, payloads: Sequence[_Written]
    ) -> Sequence[Exception | None]:
        rows: list[tuple[str, int, str, bytes]] = []
        chats: dict[tuple[UserId, ChatId], int] = {}  # (user id, chat id) -> last message id
        marks: list[MarkRow] = []
        for written in payloads:
            marks += written.marks
            for row in written.messages:
                if row.about:
                    continue
                id_, chat_id = row.message_id, row.chat_id
                rows.append((chat_id, id_, row.unread_from, row.event))
                for user_id in row.lists:
                    key = (user_id, chat_id)
                    chats[key] = max(chats.get(key, id_), id_)
        self._messages.write(connection, rows)
        for written in payloads:
            change_tables.write(connection, written.messages, restored=self._restored)
            mention_table.write(connection, written.messages, restored=self._restored)
            group_tables.write(connection, written.messages, restored=self._restored)
        CHATS.write(connection, [(*key, last) for key, last in chats.items()])
        MARKS.write(connection, marks)
        hole_table.write(connection, [hole for written in payloads for hole in written.holes])
        LAST_IDS.write(connection, list(_last_ids(payloads).items()))
        PROGRESS.write(connection, [each.progress for each in payloads if each.progress])
        return [None] * len(payloads)


class EmbeddedHistory(History):
    """The whole history in the `history.db` of a data folder."""

    system = "sqlite"

    def __init__(self, database: Database) -> None:
        """Use `open` instead."""
        self.database = database
        self._writes = _Writes(MESSAGES)
        self._restores = _Writes(RESTORED, restored=True)
        self.groups = EmbeddedGroups(database)

    @classmethod
    async def open(
        cls, folder: Path, *, database: Callable[[Path], Database] = Database
    ) -> EmbeddedHistory:
        """Open or create the file. Raises `Unusable`, `Unavailable`."""
        opened = database(folder / FILE)
        await opened.prepare(_prepare)
        return cls(opened)

    @override
    async def write(
        self,
        messages: Sequence[MessageRow],
        marks: Sequence[MarkRow],
        progress: Progress | None,
        holes: Sequence[Hole] = (),
    ) -> None:
        await self._submit(self._writes, _Written(messages, marks, progress, holes))

    @override
    async def restore(self, messages: Sequence[MessageRow], marks: Sequence[MarkRow]) -> None:
        await self._submit(self._restores, _Written(messages, marks, None))

    @override
    async def blank(self, rows: Sequence[MessageRow]) -> None:
        await self.database.write(partial(blank, rows))

    @override
    async def purge(self) -> None:
        await self.database.empty_wal()

    async def _submit(self, writes: _Writes, written: _Written) -> None:
        try:
            await self.database.submit(writes, written)
        except sqlite3.Error as error:
            if _is_too_big(error):
                await self._refuse(written.messages)
            raise Unavailable(f"the history could not be written: {error}") from error

    async def _refuse(self, messages: Sequence[MessageRow]) -> None:
        """Raise `RowsRefused` if one of the messages is too big by itself."""
        if refused := await self.database.write(partial(_too_big, messages)):
            raise RowsRefused(refused)

    @override
    async def lacking(self, messages: Sequence[MessageRow], marks: Sequence[MarkRow]) -> Lacking:
        return await self.database.read(partial(lacking, messages, marks))

    @override
    async def progress(self, log_id: str) -> dict[int, Place]:
        return await self.database.read(partial(_progress, log_id))

    @override
    async def last_ids(self) -> dict[int, int]:
        select = "SELECT partition, last_id FROM last_ids"
        return await self.database.read(lambda opened: dict(opened.execute(select).fetchall()))

    @override
    async def holes(self) -> list[Hole]:
        return await self.database.read(hole_table.read)

    @override
    async def acknowledge(self, hole: Hole, by: str, at_ms: int) -> None:
        await self.database.write(partial(hole_table.acknowledge, hole=hole, by=by, at_ms=at_ms))

    @override
    async def close_hole(self, hole: Hole) -> None:
        await self.database.write(partial(hole_table.close, hole=hole))

    @override
    async def messages(
        self,
        chat_id: ChatId,
        *,
        before: int | None,
        after: int | None,
        limit: int,
        with_changes: bool = False,
    ) -> Page:
        read = partial(_page, chat_id, before, after, limit, with_changes)
        return await self.database.read(read)

    @override
    async def these(self, chat_id: ChatId, message_ids: Sequence[int]) -> dict[int, bytes]:
        bound = (chat_id, json.dumps(message_ids))
        return await self.database.read(lambda opened: dict(opened.execute(THESE, bound)))

    @override
    async def chat_ids(self) -> AsyncGenerator[list[ChatId]]:
        page: list[ChatId] = []
        while True:
            after = page[-1] if page else ""
            page = await self.database.read(partial(_chat_ids, after))
            if not page:
                return
            yield page

    @override
    async def changes(self, chat_id: ChatId, message_ids: Sequence[int]) -> dict[int, list[bytes]]:
        return await self.database.read(partial(change_tables.read, chat_id, message_ids))

    @override
    async def chat_page(
        self,
        chat_id: ChatId,
        *,
        before: int | None,
        after: int | None,
        limit: int,
        with_changes: bool = False,
    ) -> ChatPage:
        def read(connection: sqlite3.Connection) -> ChatPage:
            page = _page(chat_id, before, after, limit, with_changes, connection)
            return ChatPage(page, lists.marks(chat_id, connection), hole_table.read(connection))

        return await self.database.read(read)

    @override
    async def chats(
        self, user_id: UserId, *, before: int | None, limit: int
    ) -> tuple[list[ChatRow], bool]:
        below = ID_MAX if before is None else before
        rows = await self.database.read(partial(lists.newest, user_id, below, limit + 1))
        return rows[:limit], len(rows) > limit

    @override
    async def chats_by_id(
        self, user_id: UserId, *, after: str, limit: int
    ) -> tuple[list[ChatRow], bool]:
        rows = await self.database.read(partial(lists.by_id, user_id, after, limit + 1))
        return rows[:limit], len(rows) > limit

    @override
    async def marks(self, chat_id: ChatId) -> list[MarkRow]:
        return await self.database.read(partial(lists.marks, chat_id))

    @override
    async def marks_in_group(self, chat_id: ChatId, user_id: UserId) -> list[MarkRow]:
        return await self.database.read(partial(lists.marks_in_group, chat_id, user_id))

    @override
    async def close(self) -> None:
        await self.database.close()


def _page(
    chat_id: ChatId,
    before: int | None,
    after: int | None,
    limit: int,
    with_changes: bool,
    connection: sqlite3.Connection,
) -> Page:
    if before is not None and after is not None:
        raise ValueError("both before and after were given: give at most one of them")
    if with_changes and after is None:
        raise ValueError("with_changes needs after")
    if after is not None:
        found = _events(
            ALL_ABOVE if with_changes else ABOVE, (chat_id, after, limit + 1), connection
        )
        return Page(found[:limit], len(found) > limit)
    if before is not None:
        found = _events(BELOW, (chat_id, before, limit + 1), connection)
    else:
        found = _events(NEWEST, (chat_id, limit + 1), connection)
    return Page(found[:limit][::-1], len(found) > limit)


def _chat_ids(after: str, connection: sqlite3.Connection) -> list[ChatId]:
    """Return the next chats by id. Each is one look into the index of the table."""
    found: list[ChatId] = []
    while len(found) < CHATS_AT_ONCE and (
        row := connection.execute(NEXT_CHAT, (after,)).fetchone()
    ):
        (after,) = row
        found.append(ChatId(after))
    return found


def _events(sql: str, bound: tuple[str | int, ...], connection: sqlite3.Connection) -> list[bytes]:
    return [event for event, *_ in connection.execute(sql, bound)]


def _last_ids(payloads: Sequence[_Written]) -> dict[int, int]:
    """Origin partition -> the highest id that is stored, or that is a hole of one message."""
    ids = [row.message_id for written in payloads if written.progress for row in written.messages]
    ids += [hole.last_id for written in payloads for hole in written.holes if hole.chat_id]
    last: dict[int, int] = {}
    for id_ in ids:
        last[partition_in(id_)] = max(id_, last.get(partition_in(id_), 0))
    return last


def _is_too_big(error: sqlite3.Error) -> bool:
    """Return whether SQLite says that a row or a value is too big, and not that a file fails."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_TOOBIG


def _too_big(
    messages: Sequence[MessageRow], connection: sqlite3.Connection
) -> list[tuple[MessageRow, str]]:
    """Return the messages that are refused by themselves, with the reason. Nothing is stored."""
    refused = []
    connection.execute("SAVEPOINT trial")
    for row in messages:
        try:
            connection.execute(
                ONE_MESSAGE, (row.chat_id, row.message_id, row.unread_from, row.event)
            )
        except sqlite3.Error as error:
            if not _is_too_big(error):
                raise
            refused.append((row, f"SQLite: {error}"))
    connection.execute("ROLLBACK TO trial")
    connection.execute("RELEASE trial")
    return refused


def _prepare(connection: sqlite3.Connection) -> None:
    execute_all(connection, SCHEMA)
    add_column(connection, "marks", "settings", "BLOB NOT NULL DEFAULT x''")
    add_column(connection, "progress", "clock_ms", "INTEGER NOT NULL DEFAULT 0")


def _progress(log_id: str, connection: sqlite3.Connection) -> dict[int, Place]:
    sql = "SELECT partition, clock_ms, up_to FROM progress WHERE log_id = ?"
    return {partition: Place(*at) for partition, *at in connection.execute(sql, (log_id,))}
