"""The history database on Cassandra or ScyllaDB."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from typing_extensions import override

from cecochat.adapters.cassandra import changes
from cecochat.adapters.cassandra.chats import ChatLists
from cecochat.adapters.cassandra.comparing import lacking
from cecochat.adapters.cassandra.database import LOWEST_TOKEN, Database
from cecochat.adapters.cassandra.groups import CassandraGroups
from cecochat.adapters.cassandra.holes import acknowledging, closing
from cecochat.adapters.cassandra.pages import Pages
from cecochat.adapters.cassandra.reached import ID_MAX, Wholeness
from cecochat.adapters.cassandra.schema import migrate
from cecochat.adapters.cassandra.settings import CassandraSettings
from cecochat.adapters.cassandra.statements import Statements, bucket_of, prepared, written_us
from cecochat.adapters.cassandra.writes import Writer
from cecochat.domain.errors import Unavailable
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.log.place import Place
from cecochat.ports.history import (
    ChatRow,
    History,
    Hole,
    Lacking,
    MarkRow,
    MessageRow,
    Page,
    Progress,
)
from cecochat.ports.joining import highest

CHATS_AT_ONCE: Final = 200


class CassandraHistory(History):
    """The whole history in one keyspace."""

    system = "cassandra"
    gather_s = 0.25  # takes a third of the CPU on both sides, compared with 0.05 (ADR 0032)

    def __init__(
        self, database: Database, statements: Statements, settings: CassandraSettings
    ) -> None:
        """Use `open` instead."""
        self._database = database
        self._statements = statements
        self._writer = Writer(database, statements, settings)
        self._wholeness = Wholeness(database, statements)
        self._pages = Pages(database, statements)
        self.groups = CassandraGroups(database, statements, self._wholeness)
        self._lists = ChatLists(database, statements, self._pages, self.groups)

    @classmethod
    async def open(cls, settings: CassandraSettings) -> CassandraHistory:
        """Open the history, or create it. Raises `InvalidSettings`, and `Unavailable` within
        `settings.open_timeout_s`.
        """
        try:
            async with asyncio.timeout(settings.open_timeout_s):
                return await cls._open(settings)
        except TimeoutError:
            raise Unavailable(
                f"Cassandra at {', '.join(settings.addresses)} was not ready within"
                f" {settings.open_timeout_s:g} s"
            ) from None

    @classmethod
    async def _open(cls, settings: CassandraSettings) -> CassandraHistory:
        database = await Database.connect(settings)
        try:
            await migrate(database, settings)
            return cls(database, await prepared(database, settings.namespace), settings)
        except BaseException:
            await database.close()
            raise

    @override
    async def write(
        self,
        messages: Sequence[MessageRow],
        marks: Sequence[MarkRow],
        progress: Progress | None,
        holes: Sequence[Hole] = (),
    ) -> None:
        await self._writer.write(messages, marks, progress, holes)
        self._wholeness.forget()

    @override
    async def lacking(self, messages: Sequence[MessageRow], marks: Sequence[MarkRow]) -> Lacking:
        return await lacking(self._database, self._statements, messages, marks)

    @override
    async def restore(self, messages: Sequence[MessageRow], marks: Sequence[MarkRow]) -> None:
        await self._writer.restore(messages, marks)
        left = await self.lacking(messages, marks)
        if any(left):  # somebody has changed or deleted them, with a later timestamp
            marks_of = await self._lists.marks([mark.chat_id for mark in left.marks])
            keys = {(mark.chat_id, mark.user_id) for mark in left.marks}
            current = [m for each in marks_of.values() for m in each if m[:2] in keys]
            await self._writer.overrule(left, highest([*left.marks, *current]))
        self._writer.forget()

    @override
    async def blank(self, rows: Sequence[MessageRow]) -> None:
        changed = [row for row in rows if row.about]
        standing = await changes.standing(self._database, self._statements, changed)
        await self._writer.blank(rows, standing)

    @override
    async def purge(self) -> None:
        """Do nothing: compaction drops what was replaced, which is up to the database."""

    @override
    async def progress(self, log_id: str) -> dict[int, Place]:
        """Like the port says. It also forgets what is cached: the caller may write again what the
        database has lost, including the index of buckets.
        """
        self._writer.forget()
        return await self._wholeness.progress(log_id)

    @override
    async def last_ids(self) -> dict[int, int]:
        return await self._wholeness.last_ids()

    @override
    async def holes(self) -> list[Hole]:
        return await self._wholeness.holes()

    @override
    async def acknowledge(self, hole: Hole, by: str, at_ms: int) -> None:
        await self._database.run(acknowledging(self._statements, hole, by, at_ms))
        self._wholeness.forget()

    @override
    async def close_hole(self, hole: Hole) -> None:
        await self._database.run(closing(self._statements, hole))
        self._wholeness.forget()

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
        if before is not None and after is not None:
            raise ValueError("both before and after were given: give at most one of them")
        if with_changes and after is None:
            raise ValueError("with_changes needs after")
        shown = await self._wholeness.shows()
        if after is not None:
            found = await self._pages.above(
                chat_id, after, limit + 1, shown, with_changes=with_changes
            )
            return Page(found[:limit], len(found) > limit)
        found = await self._pages.below(
            chat_id, ID_MAX if before is None else before, limit + 1, shown
        )
        return Page(found[:limit][::-1], len(found) > limit)

    @override
    async def these(self, chat_id: ChatId, message_ids: Sequence[int]) -> dict[int, bytes]:
        shown = await self._wholeness.shows()
        ids = [each for each in message_ids if each in shown]
        selects = (self._statements.message.bind((chat_id, bucket_of(id_), id_)) for id_ in ids)
        found = await asyncio.gather(*map(self._database.run, selects))
        return {id_: rows[0][0] for id_, rows in zip(ids, found, strict=True) if rows}

    @override
    async def chat_ids(self) -> AsyncGenerator[list[ChatId]]:
        token, more = LOWEST_TOKEN, True
        while more:
            select = self._statements.chat_ids.bind((token, CHATS_AT_ONCE))
            rows = await self._database.run(select)
            yield [ChatId(chat_id) for chat_id, _ in rows]
            more = len(rows) == CHATS_AT_ONCE
            token = rows[-1][1] if rows else token

    @override
    async def changes(self, chat_id: ChatId, message_ids: Sequence[int]) -> dict[int, list[bytes]]:
        return await changes.changes(self._database, self._statements, chat_id, message_ids)

    @override
    async def chats(
        self, user_id: UserId, *, before: int | None, limit: int
    ) -> tuple[list[ChatRow], bool]:
        below = ID_MAX if before is None else before
        return await self._lists.newest(user_id, below, limit, await self._wholeness.shows())

    @override
    async def chats_by_id(
        self, user_id: UserId, *, after: str, limit: int
    ) -> tuple[list[ChatRow], bool]:
        return await self._lists.by_id(user_id, after, limit, await self._wholeness.shows())

    @override
    async def marks(self, chat_id: ChatId) -> list[MarkRow]:
        return (await self._lists.marks([chat_id]))[chat_id]

    @override
    async def marks_in_group(self, chat_id: ChatId, user_id: UserId) -> list[MarkRow]:
        return await self._lists.marks_in_group(chat_id, user_id)

    @override
    async def written_at_ms(self, chat_id: ChatId, message_id: int) -> int | None:
        select = self._statements.written.bind((chat_id, bucket_of(message_id), message_id))
        rows = await self._database.run(select)
        return written_us(message_id, rows[0][0]) // 1_000 if rows else None

    @override
    async def close(self) -> None:
        await self._writer.close()
        await self._database.close()
