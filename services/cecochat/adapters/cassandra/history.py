"""The history database on Cassandra or ScyllaDB."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Final

from typing_extensions import override

from cecochat.adapters.cassandra.database import Database
from cecochat.adapters.cassandra.schema import migrate
from cecochat.adapters.cassandra.settings import CassandraSettings
from cecochat.adapters.cassandra.statements import Statements, bucket_of, prepared, written_us
from cecochat.adapters.cassandra.writes import Writer
from cecochat.domain.errors import Unavailable
from cecochat.ports.history import UNREAD_MAX, ChatRow, History, MarkRow, MessageRow, Page, Progress

ID_MAX: Final = (1 << 63) - 1
INDEX_ROWS: Final = 16  # buckets looked up at a time
BUCKETS_AT_ONCE: Final = 8
CHATS_AT_ONCE: Final = 25


class CassandraHistory(History):
    """All of it in one keyspace."""

    system = "cassandra"
    gather_s = 0.25  # a third of the CPU of both sides, compared with 0.05 (ADR 0032)

    def __init__(
        self, database: Database, statements: Statements, settings: CassandraSettings
    ) -> None:
        """Use `open`."""
        self._database = database
        self._statements = statements
        self._writer = Writer(database, statements, settings)

    @classmethod
    async def open(cls, settings: CassandraSettings) -> CassandraHistory:
        """Open it, or create it. Raises `Unavailable` within `settings.open_timeout_s`."""
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
        self, messages: Sequence[MessageRow], marks: Sequence[MarkRow], progress: Progress
    ) -> None:
        await self._writer.write(messages, marks, progress)

    @override
    async def progress(self, log_id: str) -> dict[int, int]:
        """Whoever asks may write again what the database has lost, the index of buckets too."""
        self._writer.forget()
        return dict(await self._database.run(self._statements.progress.bind((log_id,))))

    @override
    async def messages(
        self, chat_id: str, *, before: int | None, after: int | None, limit: int
    ) -> Page:
        if before is not None and after is not None:
            raise ValueError("at most one of before and after")
        if after is not None:
            found = await self._events(chat_id, after, limit + 1, up=True)
            return Page(found[:limit], len(found) > limit)
        found = await self._events(chat_id, ID_MAX if before is None else before, limit + 1)
        return Page(found[:limit][::-1], len(found) > limit)

    @override
    async def chats(
        self, user_id: str, *, before: int | None, limit: int
    ) -> tuple[list[ChatRow], bool]:
        below = ID_MAX if before is None else before
        rows = await self._database.run(self._statements.chats.bind((user_id,)))
        newest = sorted(((last, chat) for chat, last in rows if last < below), reverse=True)
        page = newest[:limit]
        marks = await self._marks([chat for _, chat in page])
        found = await asyncio.gather(
            *(self._chat(user_id, chat, last, marks[chat]) for last, chat in page)
        )
        return found, len(newest) > limit

    @override
    async def marks(self, chat_id: str) -> list[MarkRow]:
        return (await self._marks([chat_id]))[chat_id]

    @override
    async def written_at_ms(self, chat_id: str, message_id: int) -> int | None:
        select = self._statements.written.bind((chat_id, bucket_of(message_id), message_id))
        rows = await self._database.run(select)
        return written_us(message_id, rows[0][0]) // 1_000 if rows else None

    @override
    async def close(self) -> None:
        await self._writer.close()
        await self._database.close()

    async def _events(
        self, chat_id: str, bound: int, limit: int, *, up: bool = False
    ) -> list[bytes]:
        """Up to `limit` events from the bound on, which is not among them."""
        select = self._statements.messages_above if up else self._statements.messages_below
        found: list[bytes] = []
        async for buckets in self._buckets(chat_id, bucket_of(bound), up=up):
            pages = await asyncio.gather(
                *(self._database.run(select.bind((chat_id, b, bound, limit))) for b in buckets)
            )
            found += [event for page in pages for (event,) in page]
            if len(found) >= limit:
                break
        return found[:limit]

    async def _buckets(
        self, chat_id: str, start: int, *, up: bool = False
    ) -> AsyncIterator[list[int]]:
        """The chat's buckets from `start` on: one first, as most pages need no more, then two,
        four, eight at a time.
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

    async def _marks(self, chat_ids: list[str]) -> dict[str, list[MarkRow]]:
        """A request for some chats costs about what one for a single chat does."""
        select = self._statements.marks
        parts = [chat_ids[at : at + CHATS_AT_ONCE] for at in range(0, len(chat_ids), CHATS_AT_ONCE)]
        marks: dict[str, list[MarkRow]] = {chat: [] for chat in chat_ids}
        for rows in await asyncio.gather(
            *(self._database.run(select.bind((part,))) for part in parts)
        ):
            for row in rows:
                marks[row[0]].append(MarkRow(*row))
        return marks

    async def _chat(self, user_id: str, chat_id: str, last: int, marks: list[MarkRow]) -> ChatRow:
        read_up_to = next((mark.read_up_to for mark in marks if mark.user_id == user_id), 0)
        select = self._statements.message.bind((chat_id, bucket_of(last), last))
        rows, unread = await asyncio.gather(
            self._database.run(select), self._unread(user_id, chat_id, read_up_to, last)
        )
        if not rows:
            raise Unavailable(
                f"message {last} of {chat_id} has not reached all replicas: ask again"
            )
        return ChatRow(chat_id, last, rows[0][0], unread, marks)

    async def _unread(self, user_id: str, chat_id: str, read_up_to: int, last: int) -> int:
        """Messages of others above `read_up_to` up to `last`, newest first, to the maximum."""
        count, lowest = 0, bucket_of(read_up_to)
        if read_up_to >= last:
            return count
        if lowest == bucket_of(last):
            return await self._unread_in(lowest, user_id, chat_id, read_up_to, last)
        async for buckets in self._buckets(chat_id, bucket_of(last)):
            counted = [
                await self._unread_in(bucket, user_id, chat_id, read_up_to, last)
                for bucket in buckets
                if bucket >= lowest
            ]
            count += sum(counted)
            if count >= UNREAD_MAX or buckets[-1] <= lowest:
                break
        return min(count, UNREAD_MAX)

    async def _unread_in(
        self, bucket: int, user_id: str, chat_id: str, read_up_to: int, last: int
    ) -> int:
        count, below, more = 0, last + 1, True
        while more and count < UNREAD_MAX:
            select = self._statements.senders_above
            key = (chat_id, bucket, read_up_to, below, UNREAD_MAX)
            rows = await self._database.run(select.bind(key))
            count += sum(sender != user_id for sender, _ in rows)
            more = len(rows) == UNREAD_MAX
            below = rows[-1][1] if rows else below
        return min(count, UNREAD_MAX)
