"""The backplane on SQLite: one file that one process uses. Readers are handed what is committed."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from typing_extensions import override

from cecochat.adapters.embedded import records as layout
from cecochat.adapters.embedded.folder import FolderLock
from cecochat.adapters.embedded.records import Log, stream_of
from cecochat.adapters.embedded.sqlite import Database, Work
from cecochat.adapters.embedded.streams import Reader, Stream
from cecochat.domain.errors import ProducerEnded, Trimmed, Unavailable
from cecochat.domain.log.place import Place
from cecochat.ports.backplane import (
    DEAD_LETTERS,
    LETTERS_KEPT_MS,
    MESSAGES,
    Backplane,
    NewRecord,
    Producer,
    Record,
    Topic,
)
from cecochat.ports.sharing import Group

FILE = "log.db"
TRIM_OFFSETS = 1_000
"""How many offsets are dropped in one step. It is few, so that appends wait only milliseconds."""

Clock = Callable[[], float]
_Row = tuple[int, int, bytes, bytes, str, int]
Placed = tuple[int, Record]
"""The number of a stream, and a record that was appended to it."""


class _Append(NamedTuple):
    producer: _Session
    records: Sequence[NewRecord]


class _Session(Producer):
    """A producer session. The writer sets `ended` at the first failure, before it applies anything
    that was submitted later.
    """

    def __init__(self, database: Database, appends: _Appends, topic: Topic) -> None:
        self.topic = topic
        self.ended = False
        self._database = database
        self._appends = appends
        self._closed = False

    @override
    async def append(self, records: Sequence[NewRecord]) -> None:
        if self._closed:
            raise ProducerEnded("this producer session was closed: open a new one")
        await self._submit(records)

    @override
    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            if not self.ended:
                with suppress(ProducerEnded):
                    await self._submit(())  # comes back after all before it
                self.ended = True

    async def _submit(self, records: Sequence[NewRecord]) -> None:
        try:
            await self._database.submit(self._appends, _Append(self, records))
        except (sqlite3.Error, ValueError, Unavailable) as error:
            self.ended = True
            raise ProducerEnded(f"the append failed, open a new session: {error}") from error


class _Appends(Work[_Append, Sequence[Placed]]):
    """Gives offsets and append times to records, inserts them, and hands them to readers once they
    are committed.

    If an append fails, the next one gets its offsets, so that offsets are consecutive and a skipped
    one means that a record has vanished. After a failed commit nobody knows whether the rows are
    there, so the next append deletes them first: nobody was given them.
    """

    def __init__(self, log: Log, streams: dict[int, Stream], clock: Clock) -> None:
        self._log = log
        self._next = {stream: extent.end for stream, extent in log.extents.items()}
        self._now_ms = max(extent.appended_at_ms for extent in log.extents.values())
        self._streams = streams
        self._clock = clock
        self._before: dict[int, int] = {}  # stream -> its end before what was applied last
        self._undone: set[int] = set()  # streams where rows may be left of what has failed

    @override
    def undone(self) -> None:
        self._next |= self._before
        self._undone |= self._before.keys()
        self._before = {}

    @override
    def apply(
        self, connection: sqlite3.Connection, payloads: Sequence[_Append]
    ) -> Sequence[Sequence[Placed] | ProducerEnded]:
        self._now_ms = max(self._now_ms, int(self._clock() * 1_000))  # never goes back
        if self._before:  # the last transaction was committed, with what it had dropped
            self._undone.clear()
        self._before = {}
        for stream in self._undone:
            layout.drop_from(connection, stream, self._next[stream])
        rows: list[_Row] = []
        results = [
            ProducerEnded("an earlier append of this session failed")
            if producer.ended
            else self._place(producer.topic, records, rows)
            for producer, records in payloads
        ]
        rows.sort()  # by the key of the table, so that neighbours are inserted together
        layout.INSERT.write(connection, rows)
        return results

    def _place(
        self, topic: Topic, records: Sequence[NewRecord], rows: list[_Row]
    ) -> Sequence[Placed]:
        now_ms, first_stream = self._now_ms, stream_of(topic, 0)
        placed: list[Placed] = []
        for partition, key, value, headers, decoded in records:
            self._log.check(partition)
            stream = first_stream + partition
            offset = self._next[stream]
            self._before.setdefault(stream, offset)
            self._next[stream] = offset + 1
            text = layout.headers_text(headers)
            checksum = layout.checksum(key, value, text.encode())
            place = layout.place_of(stream, offset)
            rows.append((place, now_ms, key, value, text, checksum))
            placed.append((stream, Record(offset, now_ms, key, value, headers, decoded)))
        return placed

    @override
    def failed(self, payload: _Append) -> None:
        payload.producer.ended = True

    @override
    def committed(self, results: Sequence[Sequence[Placed]]) -> None:
        appended: dict[int, list[Record]] = {}
        for placed in results:
            for stream, record in placed:
                appended.setdefault(stream, []).append(record)
        for stream, records in appended.items():
            self._streams[stream].extend(records)


class EmbeddedBackplane(Backplane):
    """All topics in the `log.db` of a data folder, which only this process has open.

    `retention_ms` and `retention_bytes` apply to each partition; None means no limit.
    """

    def __init__(
        self,
        database: Database,
        lock: FolderLock,
        log: Log,
        *,
        retention_ms: int | None,
        retention_bytes: int | None,
        clock: Clock,
    ) -> None:
        """Use `open` instead."""
        self.database = database
        self._lock = lock
        self._log = log
        self._retention_ms = retention_ms
        self._retention_bytes = retention_bytes
        self._clock = clock
        self._streams = {number: Stream(extent) for number, extent in log.extents.items()}
        self._appends = _Appends(log, self._streams, clock)
        self._groups: dict[tuple[Topic, str], Group] = {}
        self._closed = False

    @classmethod
    async def open(
        cls,
        folder: Path,
        *,
        partition_count: int | None = None,
        retention_ms: int | None = None,
        retention_bytes: int | None = None,
        clock: Clock = time.time,
        database: Callable[[Path], Database] = Database,
    ) -> EmbeddedBackplane:
        """Open the log, or create it with `partition_count` partitions (1 by default).

        Raises `InvalidSettings` if the log has another number of partitions, which is fixed. Raises
        `FolderInUse` if another process has the folder open, and `Unavailable`.
        """
        lock = FolderLock(folder)
        try:
            opened = database(folder / FILE)
            log = await opened.prepare(partial(layout.open_log, wanted=partition_count))
        except BaseException:
            lock.release()
            raise
        return cls(
            opened,
            lock,
            log,
            retention_ms=retention_ms,
            retention_bytes=retention_bytes,
            clock=clock,
        )

    @override
    async def log_id(self) -> str:
        return self._log.log_id

    @override
    async def partition_count(self) -> int:
        return self._log.partition_count

    @override
    async def producer(self, topic: Topic = MESSAGES) -> Producer:
        return _Session(self.database, self._appends, topic)

    @override
    async def read(
        self, topic: Topic, partition: int, offset: int, *, gather_s: float = 0.0
    ) -> AsyncGenerator[Sequence[Record]]:
        number = self._number(topic, partition)
        stream = self._streams[number]
        reader = Reader(offset)
        stream.readers.add(reader)
        try:
            while True:
                if self._closed:
                    raise Unavailable("the log was closed")
                if batch := reader.take():
                    yield batch
                elif reader.next < stream.end:
                    yield await self._select(number, stream, partition, reader)
                else:
                    reader.woken.clear()
                    await reader.woken.wait()
        finally:
            stream.readers.discard(reader)

    async def _select(
        self, number: int, stream: Stream, partition: int, reader: Reader
    ) -> Sequence[Record]:
        offset = reader.next
        batch = await self.database.read(partial(layout.select, stream=number, offset=offset))
        # `start` moves before rows are deleted, so this notices any trim that ran with the select.
        if offset < stream.start:
            raise Trimmed(partition, offset, stream.start)
        reader.next = batch[-1].offset + 1
        return batch

    @override
    async def bounds(self, topic: Topic, partition: int) -> tuple[int, int]:
        stream = self._streams[self._number(topic, partition)]
        return stream.start, stream.end

    @override
    async def committed(self, group: str, topic: Topic, partition: int) -> Place | None:
        key = (group, self._number(topic, partition))
        row = await self.database.read(
            lambda connection: connection.execute(
                "SELECT clock_ms, next FROM committed WHERE consumer = ? AND stream = ?", key
            ).fetchone()
        )
        return None if row is None else Place(*row)

    @override
    async def commit(self, group: str, topic: Topic, places: dict[int, Place]) -> None:
        rows = [
            (group, self._number(topic, partition), place.offset, place.clock_ms)
            for partition, place in places.items()
        ]
        await self.database.write(partial(layout.COMMIT.write, rows=rows))

    @override
    async def share(
        self, topic: Topic, group: str, work: Callable[[int], Coroutine[Any, Any, None]]
    ) -> None:
        await self._groups.setdefault((topic, group), Group(self._log.partition_count)).join(work)

    @override
    async def release(self, topic: Topic, partition: int, before: int) -> None:
        stream = self._streams[self._number(topic, partition)]
        stream.released = max(stream.released, before)

    @override
    async def trim(self) -> None:
        """Like the port says, but what is released is also dropped by size."""
        letters = stream_of(DEAD_LETTERS, 0)  # from here on, streams are trimmed by age alone
        for number, stream in self._streams.items():
            end = stream.end if number >= letters else min(stream.released, stream.end)
            if end <= stream.start:
                continue
            expired_below = self._letters_below if number >= letters else self._expired_below
            cut = min(end, await expired_below(number, stream))
            while stream.start < cut:
                stream.start = start = min(cut, stream.start + TRIM_OFFSETS)
                await self.database.write(partial(layout.trim, stream=number, start=start))

    async def _letters_below(self, number: int, stream: Stream) -> int:
        oldest_ms = int(self._clock() * 1_000) - LETTERS_KEPT_MS
        return await self._younger_from(number, stream, oldest_ms)

    async def _expired_below(self, number: int, stream: Stream) -> int:
        age_ms, now_ms = self._retention_ms, int(self._clock() * 1_000)
        return await self.database.read(
            partial(
                layout.expired_below,
                stream=number,
                offsets=(stream.start, stream.end),
                oldest_ms=None if age_ms is None else now_ms - age_ms,
                bytes_max=self._retention_bytes,
            )
        )

    @override
    async def offset_at(self, topic: Topic, partition: int, at_ms: int) -> int:
        number = self._number(topic, partition)
        return await self._younger_from(number, self._streams[number], at_ms)

    async def _younger_from(self, number: int, stream: Stream, at_ms: int) -> int:
        return await self.database.read(
            partial(
                layout.expired_below,
                stream=number,
                offsets=(stream.start, stream.end),
                oldest_ms=at_ms,
                bytes_max=None,
            )
        )

    @override
    async def close(self) -> None:
        self._closed = True
        for stream in self._streams.values():
            for reader in stream.readers:
                reader.woken.set()
        await self.database.close()
        self._lock.release()

    def _number(self, topic: Topic, partition: int) -> int:
        self._log.check(partition)
        return stream_of(topic, partition)
