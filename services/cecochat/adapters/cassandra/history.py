"""The history database on Cassandra or ScyllaDB."""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from itertools import chain
from typing import Final

from cassandra.query import PreparedStatement
from typing_extensions import override

from cecochat.adapters.cassandra import changes
from cecochat.adapters.cassandra.comparing import lacking
from cecochat.adapters.cassandra.database import Database
from cecochat.adapters.cassandra.holes import acknowledging, closing
from cecochat.adapters.cassandra.reached import ID_MAX, Shown, Wholeness
from cecochat.adapters.cassandra.schema import migrate
from cecochat.adapters.cassandra.settings import CassandraSettings
from cecochat.adapters.cassandra.statements import Statements, bucket_of, prepared, written_us
from cecochat.adapters.cassandra.writes import Writer
from cecochat.domain.errors import Unavailable
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.log.place import Place
from cecochat.ports.history import (
    UNREAD_MAX,
    ChatRow,
    History,
    Hole,
    Lacking,
    MarkRow,
    MessageRow,
    Page,
    Progress,
    highest,
)

INDEX_ROWS: Final = 16  # how many buckets to look up at a time
BUCKETS_AT_ONCE: Final = 8
CHATS_AT_ONCE: Final = 25
LOOKED_AT_ONCE: Final = 16  # how many messages to read at a time to find one that may be shown


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
            marks_of = await self._marks([mark.chat_id for mark in left.marks])
            keys = {(mark.chat_id, mark.user_id) for mark in left.marks}
            current = [m for each in marks_of.values() for m in each if m[:2] in keys]
            await self._writer.overrule(left, highest([*left.marks, *current]))
        self._writer.forget()

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
            found = await self._above(chat_id, after, limit + 1, shown, with_changes=with_changes)
            return Page(found[:limit], len(found) > limit)
        below = ID_MAX if before is None else before
        rows = await self._events(chat_id, below, limit + 1, shown, self._statements.messages_below)
        found = [event for _, event in rows]
        return Page(found[:limit][::-1], len(found) > limit)

    @override
    async def changes(self, chat_id: ChatId, message_ids: Sequence[int]) -> dict[int, list[bytes]]:
        return await changes.changes(self._database, self._statements, chat_id, message_ids)

    @override
    async def chats(
        self, user_id: UserId, *, before: int | None, limit: int
    ) -> tuple[list[ChatRow], bool]:
        below = ID_MAX if before is None else before
        shown = await self._wholeness.shows()
        rows = await self._database.run(self._statements.chats.bind((user_id,)))
        # They run one by one, without tasks: for nearly all there is nothing to look up.
        found = [(await self._last_shown(chat_id, last, shown), chat_id) for chat_id, last in rows]
        newest = sorted((pair for pair in found if 0 < pair[0] < below), reverse=True)
        page = [(chat_id, last) for last, chat_id in newest[:limit]]
        return await self._chat_rows(user_id, page, shown), len(newest) > limit

    @override
    async def chats_by_id(
        self, user_id: UserId, *, after: str, limit: int
    ) -> tuple[list[ChatRow], bool]:
        shown = await self._wholeness.shows()
        page: list[tuple[ChatId, int]] = []
        more = True
        while more and not page:
            select = self._statements.chats_by_id.bind((user_id, after, limit + 1))
            rows = list(await self._database.run(select))
            more = len(rows) > limit
            for chat_id, last in rows[:limit]:
                if visible := await self._last_shown(chat_id, last, shown):
                    page.append((chat_id, visible))
                after = chat_id
        return await self._chat_rows(user_id, page, shown), more

    @override
    async def marks(self, chat_id: ChatId) -> list[MarkRow]:
        return (await self._marks([chat_id]))[chat_id]

    @override
    async def written_at_ms(self, chat_id: ChatId, message_id: int) -> int | None:
        select = self._statements.written.bind((chat_id, bucket_of(message_id), message_id))
        rows = await self._database.run(select)
        return written_us(message_id, rows[0][0]) // 1_000 if rows else None

    @override
    async def close(self) -> None:
        await self._writer.close()
        await self._database.close()

    async def _above(
        self, chat_id: ChatId, bound: int, limit: int, shown: Shown, *, with_changes: bool
    ) -> list[bytes]:
        """Up to `limit` events above the id `bound`, in the order of ids."""
        make = self._statements
        selects = [make.messages_above, *([make.changes_above] if with_changes else [])]
        found = await asyncio.gather(
            *(self._events(chat_id, bound, limit, shown, each, up=True) for each in selects)
        )
        return [event for _, event in sorted(chain.from_iterable(found))[:limit]]

    async def _events(
        self,
        chat_id: ChatId,
        bound: int,
        limit: int,
        shown: Shown,
        select: PreparedStatement,
        *,
        up: bool = False,
    ) -> list[tuple[int, bytes]]:
        """Up to `limit` ids and events below the id `bound`, or above it if `up`."""
        found: list[tuple[int, bytes]] = []
        async with aclosing(self._rows(chat_id, bound, limit, select, up=up)) as rows:
            async for id_, event in rows:
                if id_ in shown:
                    found.append((id_, event))
                if len(found) == limit:
                    break
        return found

    async def _rows(
        self,
        chat_id: ChatId,
        bound: int,
        at_once: int,
        select: PreparedStatement,
        *,
        up: bool = False,
    ) -> AsyncGenerator[tuple[int, bytes]]:
        """Yield ids and events below the id `bound`, or above it if `up`. They are read `at_once`
        at a time, until the caller has enough.
        """
        async for buckets in self._buckets(chat_id, bucket_of(bound), up=up):
            pages = await asyncio.gather(
                *(self._database.run(select.bind((chat_id, b, bound, at_once))) for b in buckets)
            )
            for bucket, page in zip(buckets, pages, strict=True):
                rows = list(page)
                while rows:
                    for row in rows:
                        yield row
                    if len(rows) < at_once:
                        break
                    next_ = select.bind((chat_id, bucket, rows[-1][0], at_once))
                    rows = list(await self._database.run(next_))

    async def _last_shown(self, chat_id: ChatId, last: int, shown: Shown) -> int:
        """Return the highest message id of a chat that may be shown, up to `last`; 0 if there is
        none.
        """
        if last in shown:
            return last
        below = self._statements.messages_below
        async with aclosing(self._rows(chat_id, last, LOOKED_AT_ONCE, below)) as rows:
            async for id_, _ in rows:
                if id_ in shown:
                    return id_
        return 0

    async def _buckets(
        self, chat_id: ChatId, start: int, *, up: bool = False
    ) -> AsyncIterator[list[int]]:
        """Yield the chat's buckets from `start` on, up or down. One comes first, since most pages
        need no more, then two, four and eight at a time.
        """
        select = self._statements.buckets_up if up else self._statements.buckets_down
        width = 1
        while True:
            rows = await self._database.run(select.bind((chat_id, start, INDEX_ROWS)))
            buckets = [bucket for (bucket,) in rows]
            while buckets:
                yield buckets[:width]
                start = buckets[:width][-1] + (1 if up else -1)
                buckets = buckets[width:]
                width = min(2 * width, BUCKETS_AT_ONCE)
            if len(rows) < INDEX_ROWS:
                return

    async def _marks(self, chat_ids: list[ChatId]) -> dict[ChatId, list[MarkRow]]:
        """Chat id -> marks. A request for several chats costs about as much as one for a single
        chat.
        """
        select = self._statements.marks
        parts = [chat_ids[at : at + CHATS_AT_ONCE] for at in range(0, len(chat_ids), CHATS_AT_ONCE)]
        marks: dict[ChatId, list[MarkRow]] = {chat_id: [] for chat_id in chat_ids}
        for rows in await asyncio.gather(
            *(self._database.run(select.bind((part,))) for part in parts)
        ):
            for row in rows:
                marks[row[0]].append(MarkRow(*row))
        return marks

    async def _chat_rows(
        self, user_id: UserId, page: list[tuple[ChatId, int]], shown: Shown
    ) -> list[ChatRow]:
        chat_ids = [chat_id for chat_id, _ in page]
        marks, changed = await asyncio.gather(
            self._marks(chat_ids), changes.last_ids(self._database, self._statements, chat_ids)
        )
        return await asyncio.gather(
            *(
                self._chat(user_id, chat_id, last, changed.get(chat_id, 0), marks[chat_id], shown)
                for chat_id, last in page
            )
        )

    async def _chat(
        self,
        user_id: UserId,
        chat_id: ChatId,
        last: int,
        last_change: int,
        marks: list[MarkRow],
        shown: Shown,
    ) -> ChatRow:
        read_up_to = next((mark.read_up_to for mark in marks if mark.user_id == user_id), 0)
        select = self._statements.message.bind((chat_id, bucket_of(last), last))
        rows, changed, unread = await asyncio.gather(
            self._database.run(select),
            self.changes(chat_id, [last] if last_change else []),
            self._unread(user_id, chat_id, read_up_to, last, last_change, shown),
        )
        if not rows:
            raise Unavailable(
                f"the message {last} of {chat_id} has not reached all replicas yet: ask again"
            )
        event, of_last = rows[0][0], tuple(changed.get(last, ()))
        return ChatRow(chat_id, last, event, unread, marks, last_change, of_last)

    async def _unread(
        self,
        user_id: UserId,
        chat_id: ChatId,
        read_up_to: int,
        last: int,
        last_change: int,
        shown: Shown,
    ) -> int:
        """Return how many messages of others are above `read_up_to` and up to `last`, among the
        newest `UNREAD_MAX`, without those that are deleted.
        """
        senders: list[tuple[UserId, int]] = []
        lowest = bucket_of(read_up_to)
        if read_up_to < last:
            async for bucket in self._buckets_from(chat_id, last, lowest):
                left = UNREAD_MAX - len(senders)
                key = (chat_id, bucket, read_up_to, last + 1, left)
                senders += await self._database.run(self._statements.senders_above.bind(key))
                if len(senders) == UNREAD_MAX:
                    break
        unread = [(sender, id_) for sender, id_ in senders if sender != user_id and id_ in shown]
        if not unread or last_change <= read_up_to:  # a deletion is above what it deletes
            return len(unread)
        make = self._statements
        return len(unread) - len(await changes.deleted(self._database, make, chat_id, unread))

    async def _buckets_from(self, chat_id: ChatId, last: int, lowest: int) -> AsyncIterator[int]:
        """Yield the chat's buckets from that of the message `last` down to `lowest`."""
        if bucket_of(last) == lowest:
            yield lowest  # this is the usual case, which needs no look at the index
            return
        async for buckets in self._buckets(chat_id, bucket_of(last)):
            for bucket in buckets:
                if bucket < lowest:
                    return
                yield bucket
