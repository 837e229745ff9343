"""Joins writes that arrive together into one round: first the messages, then what points to them,
then the progress.
"""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
import struct
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from cassandra import InvalidRequest
from cassandra.query import BatchStatement, BatchType, BoundStatement, Statement

from cecochat.adapters.cassandra.changes import blank_pointer, pointers
from cecochat.adapters.cassandra.database import Database
from cecochat.adapters.cassandra.holes import blank_row, message_row, put_holes, refused
from cecochat.adapters.cassandra.members import change_rows
from cecochat.adapters.cassandra.reached import rows_of
from cecochat.adapters.cassandra.settings import CassandraSettings
from cecochat.adapters.cassandra.statements import (
    LOWEST_US,
    Statements,
    bucket_of,
    first_us,
    greatest_us,
)
from cecochat.domain.errors import Unavailable
from cecochat.domain.log.ids import ChatId
from cecochat.ports.history import (
    Hole,
    Lacking,
    MarkRow,
    MessageRow,
    Progress,
    RowsRefused,
)
from cecochat.ports.joining import last_in_chats

ROUND_ROWS: Final = 1_000  # about the most in a round: it takes about 10 µs to bind a row
KNOWN_BUCKETS_MAX: Final = 65_536
ROW_BYTES: Final = 60  # about what the server counts for a row in addition to its values


class _Write(NamedTuple):
    messages: Sequence[MessageRow]
    marks: Sequence[MarkRow]
    progress: Progress | None
    holes: Sequence[Hole]
    done: asyncio.Future[None]


class Writer:
    """Joins the writes of all partitions that arrive during one round into the next."""

    def __init__(
        self, database: Database, statements: Statements, settings: CassandraSettings
    ) -> None:
        self._database = database
        self._statements = statements
        self._settings = settings
        self._waiting: list[_Write] = []
        self._rounds: asyncio.Task[None] | None = None
        self._indexed_buckets: set[tuple[ChatId, int]] = set()  # certainly in the index

    async def write(
        self,
        messages: Sequence[MessageRow],
        marks: Sequence[MarkRow],
        progress: Progress | None,
        holes: Sequence[Hole],
    ) -> None:
        """Like `History.write`."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(_Write(messages, marks, progress, holes, done))
        if self._rounds is None:
            self._rounds = asyncio.create_task(self._run_rounds())
        await done

    async def close(self) -> None:
        """Wait for the round that is under way."""
        if self._rounds is not None:
            await self._rounds

    def forget(self) -> None:
        """Forget what is in the database, since somebody may have restored an older copy of it."""
        self._indexed_buckets.clear()

    async def _run_rounds(self) -> None:
        try:
            while self._waiting:
                await self._run_round(self._take())
        finally:
            self._rounds = None

    def _take(self) -> list[_Write]:
        taken, size = 0, 0
        while taken < len(self._waiting) and size < ROUND_ROWS:
            size += sum(map(_rows, self._waiting[taken].messages))
            taken += 1
        round_, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return round_

    async def _run_round(self, writes: list[_Write]) -> None:
        (error,) = await asyncio.gather(self._store(writes), return_exceptions=True)
        for write in writes:
            # A single row may be the reason. The driver raises struct.error for a key above 64 KiB.
            if isinstance(error, InvalidRequest | struct.error):
                (outcome,) = await asyncio.gather(self._store_alone(write), return_exceptions=True)
            else:
                outcome = error
            _finish(write, outcome)

    async def _store_alone(self, write: _Write) -> None:
        """Store one write by itself. Raises `RowsRefused` and `Unavailable`."""
        make = self._statements
        if found := await refused(self._database, make, write.messages, write.marks):
            raise RowsRefused(found)
        try:
            await self._store([write])
        except InvalidRequest as error:
            raise Unavailable(f"Cassandra refuses a write: {error}") from error

    async def _store(self, writes: list[_Write]) -> None:
        make = self._statements
        messages = [row for write in writes for row in write.messages]
        buckets = buckets_of(messages) - self._indexed_buckets
        await self._put(
            [
                *_message_rows(make, messages),
                *_bucket_rows(make, buckets),
                *change_rows(make, messages),
            ]
        )
        self._remember(buckets)
        marks = [row for write in writes for row in write.marks]
        await self._put(
            [*_chat_rows(make, messages), *pointers(make, messages), *_mark_rows(make, marks)]
        )
        await self._put(put_holes(make, (hole for write in writes for hole in write.holes)))
        await self._put(
            row
            for write in writes
            for row in rows_of(make, write.messages, write.progress, write.holes)
        )

    async def restore(self, messages: Sequence[MessageRow], marks: Sequence[MarkRow]) -> None:
        """Write all these rows again, and what points to them, as they were written before."""
        make = self._statements
        rows = [*_message_rows(make, messages), *_bucket_rows(make, buckets_of(messages))]
        await self._put([*rows, *change_rows(make, messages)])
        await self._put(
            [*_chat_rows(make, messages), *pointers(make, messages), *_mark_rows(make, marks)]
        )

    async def blank(self, rows: Sequence[MessageRow], standing: Sequence[MessageRow]) -> None:
        """Write rows that say nothing over those that are there, with the current time as the
        timestamp. `standing` are those of them that are changes that count.
        """
        make, now_us = self._statements, time.time_ns() // 1_000
        await self._put(blank_row(make, row, now_us) for row in rows)
        await self._put(blank_pointer(make, row, now_us) for row in standing)

    async def overrule(self, lacking: Lacking, marks: Sequence[MarkRow]) -> None:
        """Write what is lacking over whatever is there, even deletions, with the current time as
        the timestamp. `marks` are written instead of those in `lacking`.
        """
        make, now_us = self._statements, time.time_ns() // 1_000
        messages = [*lacking.absent, *lacking.other]
        rows = [message_row(make, row, now_us, overrules=True) for row in messages]
        rows += _bucket_rows(make, buckets_of(messages), now_us)
        await self._put([*rows, *change_rows(make, messages, now_us)])
        await self._put(pointers(make, messages, now_us))
        chats = ((user_id, row.chat_id, row.message_id, now_us) for user_id, row in lacking.chats)
        await self._put([*map(make.raise_chat.bind, chats), *_mark_rows(make, marks, now_us)])

    def _remember(self, buckets: set[tuple[ChatId, int]]) -> None:
        if len(self._indexed_buckets) + len(buckets) > KNOWN_BUCKETS_MAX:
            self._indexed_buckets.clear()  # it does no harm to write a row of the index again
        self._indexed_buckets |= buckets

    async def _put(self, rows: Iterable[BoundStatement]) -> None:
        by_coordinator = defaultdict(list)
        for row in rows:
            by_coordinator[self._database.coordinator(row)].append(row)
        await self._database.run_all(
            request for some in by_coordinator.values() for request in self._requests(some)
        )

    def _requests(self, rows: Iterable[BoundStatement]) -> Iterator[Statement]:
        """The rows in batches that are as large as the server takes without a warning."""
        batch: list[BoundStatement] = []
        partitions: set[bytes] = set()
        size = 0
        for row in rows:
            row_size = ROW_BYTES + sum(len(each) for each in row.values if _is_given(each))
            partitions.add(row.routing_key)
            full = size + row_size > self._settings.batch_bytes
            if batch and (full or len(partitions) > self._settings.batch_partitions):
                yield _request(batch)
                batch, partitions, size = [], {row.routing_key}, 0
            batch.append(row)
            size += row_size
        if batch:
            yield _request(batch)


def _is_given(value: object) -> bool:
    """Return whether a bound value is given: neither null nor left as it is in the database."""
    return isinstance(value, bytes)


def _rows(row: MessageRow) -> int:
    """Return how many rows a message takes, or a change of a group."""
    return 1 + 3 * len(row.membership.people) if row.membership else 1


def _finish(write: _Write, error: BaseException | None) -> None:
    if write.done.done():
        return
    if error is None:
        write.done.set_result(None)
    else:
        write.done.set_exception(error)


def _request(rows: list[BoundStatement]) -> Statement:
    """Return a request with these rows. The batch is unlogged: if it fails, a part of it may be
    stored, and all of it is written again.
    """
    if len(rows) == 1:
        return rows[0]
    batch = BatchStatement(BatchType.UNLOGGED)
    for row in rows:
        batch.add(row)
    batch.is_idempotent = True
    return batch


def _message_rows(make: Statements, messages: Sequence[MessageRow]) -> Iterator[BoundStatement]:
    """The statements for messages. Those of a chat come together, since they share a partition."""
    for row in sorted(messages, key=lambda row: (row.chat_id, row.message_id)):
        yield message_row(make, row, first_us(row.message_id))


def buckets_of(messages: Iterable[MessageRow]) -> set[tuple[ChatId, int]]:
    """Return the (chat id, bucket) pairs of these messages."""
    return {(row.chat_id, bucket_of(row.message_id)) for row in messages}


def _bucket_rows(
    make: Statements, buckets: Iterable[tuple[ChatId, int]], at_us: int = LOWEST_US
) -> Iterator[BoundStatement]:
    return (make.insert_bucket.bind((*bucket, at_us)) for bucket in buckets)


def _mark_rows(
    make: Statements, marks: Iterable[MarkRow], at_us: int = LOWEST_US
) -> Iterator[BoundStatement]:
    """The statements for marks. All have the same timestamp, so that values only grow."""
    return (make.raise_marks.bind((*mark, at_us)) for mark in marks)


def _chat_rows(make: Statements, messages: Sequence[MessageRow]) -> Iterator[BoundStatement]:
    """The statements for chat lists: one per user and chat, however many messages there are."""
    for (user_id, chat_id), row in sorted(last_in_chats(messages).items()):
        id_ = row.message_id
        yield make.raise_chat.bind((user_id, chat_id, id_, greatest_us(id_)))
