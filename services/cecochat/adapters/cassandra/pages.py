"""Reads the messages of a chat, bucket by bucket."""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from itertools import chain
from typing import Final

from cassandra.query import PreparedStatement

from cecochat.adapters.cassandra.database import Database
from cecochat.adapters.cassandra.reached import Shown
from cecochat.adapters.cassandra.statements import Statements, bucket_of
from cecochat.domain.log.ids import ChatId

INDEX_ROWS: Final = 16  # how many buckets to look up at a time
BUCKETS_AT_ONCE: Final = 8
LOOKED_AT_ONCE: Final = 16  # how many messages to read at a time to find one that may be shown


class Pages:
    """Reads events, the newest or the oldest first."""

    def __init__(self, database: Database, statements: Statements) -> None:
        self._database = database
        self._statements = statements

    async def below(self, chat_id: ChatId, bound: int, limit: int, shown: Shown) -> list[bytes]:
        """Return up to `limit` events below the id `bound`, newest first."""
        select = self._statements.messages_below
        return [event for _, event in await self._events(chat_id, bound, limit, shown, select)]

    async def above(
        self, chat_id: ChatId, bound: int, limit: int, shown: Shown, *, with_changes: bool
    ) -> list[bytes]:
        """Return up to `limit` events above the id `bound`, in the order of ids."""
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

    async def last_shown(self, chat_id: ChatId, last: int, shown: Shown) -> int:
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

    async def buckets_from(self, chat_id: ChatId, last: int, lowest: int) -> AsyncIterator[int]:
        """Yield the chat's buckets from that of the message `last` down to `lowest`."""
        if bucket_of(last) == lowest:
            yield lowest  # this is the usual case, which needs no look at the index
            return
        async for buckets in self._buckets(chat_id, bucket_of(last)):
            for bucket in buckets:
                if bucket < lowest:
                    return
                yield bucket

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
