"""Readers of the log. A reader that is behind fetches by itself; all readers at the end of their
partitions share one long poll per broker.

A long poll is a fetch session (KIP-227), so the cost of a round depends on what has changed and not
on how much is followed. What it returns is decoded once and handed to all readers of the partition.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from aiokafka.errors import CorruptRecordException, KafkaError, LeaderNotAvailableError  # type: ignore[import-untyped]
from aiokafka.protocol.offset import OffsetRequest  # type: ignore[import-untyped]

from cecochat.adapters.kafka.batches import BATCH_BYTES, BATCH_RECORDS, Fetched
from cecochat.adapters.kafka.cluster import BACKOFF_S, Cluster, Refused, Stream, check
from cecochat.adapters.kafka.joining import Joined
from cecochat.adapters.kafka.protocol import NEW_SESSION, Fetch, FetchSession
from cecochat.adapters.kafka.settings import KafkaSettings
from cecochat.domain.errors import Trimmed, Unavailable
from cecochat.ports.backplane import Record

FETCH_BYTES: Final = 512 << 10
POLL_BYTES: Final = 1 << 20
POLL_MS: Final = 100
"""How long a broker holds a poll that finds nothing. A reader that comes to the end joins the next
poll, so it may wait this long for what comes next.
"""
HANDOVER_RECORDS: Final = 10_000
HANDOVER_BYTES: Final = 4 << 20
_OUT_OF_RANGE: Final = 1
_EARLIEST: Final = -2
_LATEST: Final = -1
_SESSION_LOST: Final = (70, 71)


class _Reader:
    """One reader of a stream. If it is live, it was given everything below `next`, or has it in its
    hand-over.
    """

    def __init__(self, offset: int, gather_s: float) -> None:
        self.next = offset
        self.gather_s = gather_s
        self.last: Record | None = None  # the last record that it was given
        self.live = False  # it is at the end, and gets what is polled
        self.woken = asyncio.Event()
        self._handed: list[Record] = []
        self._handed_bytes = 0

    def hand(self, records: Sequence[Record], next_: int) -> None:
        """Take in what a poll has returned. A reader whose hand-over is full takes none: it is
        behind, and has to fetch.
        """
        if len(self._handed) >= HANDOVER_RECORDS or self._handed_bytes >= HANDOVER_BYTES:
            self.live = False
            return
        for record in records:
            if record.offset >= self.next:  # it may have fetched further by itself
                self._handed.append(record)
                self._handed_bytes += len(record.key) + len(record.value)
        self.next = max(self.next, next_)
        self.woken.set()

    def take(self) -> list[Record]:
        """Take the next batch from the hand-over. It is empty if there is none."""
        batch = self._handed[:BATCH_RECORDS]
        size = 0
        for count, record in enumerate(batch):
            record_bytes = len(record.key) + len(record.value)
            if count and size + record_bytes > BATCH_BYTES:
                del batch[count:]
                break
            size += record_bytes
        del self._handed[: len(batch)]
        self._handed_bytes -= size
        return batch

    def leave(self) -> None:
        """Note that the reader's stream is not polled any more."""
        self.live = False
        self.woken.set()


@dataclass(slots=True)
class _Follower:
    """A stream that is polled for the readers at its end."""

    stream: Stream
    position: int  # everything below was handed out
    readers: set[_Reader] = field(default_factory=set)

    def extend(self, records: Sequence[Record], next_: int) -> None:
        self.position = next_
        for reader in list(self.readers):
            reader.hand(records, next_)
            if not reader.live:
                self.readers.discard(reader)


class _Poll:
    """The long poll of one broker. A stream that fails is dropped: its readers then fetch, which
    shows the reason, and join again.
    """

    def __init__(self, cluster: Cluster, node: int, linger_s: float) -> None:
        self._cluster = cluster
        self._node = node
        self._linger_s = linger_s
        self._followers: dict[Stream, _Follower] = {}
        self._has_some = asyncio.Event()
        self._session = NEW_SESSION
        self._requested: dict[Stream, int] = {}  # the offsets that the broker's session has

    def add(self, follower: _Follower) -> None:
        self._followers[follower.stream] = follower
        self._has_some.set()

    def drop(self, stream: Stream) -> None:
        follower = self._followers.pop(stream, None)
        for reader in follower.readers if follower else ():
            reader.leave()

    def get(self, stream: Stream) -> _Follower | None:
        return self._followers.get(stream)

    def drop_all(self) -> None:
        for stream in list(self._followers):
            self.drop(stream)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._followers:
                self._has_some.clear()
                await self._has_some.wait()
            began = loop.time()
            try:
                answer = await self._cluster.ask(self._node, self._request(), "poll")
                check(answer.error_code)
            except KafkaError as error:
                await self._failed(error)
            else:
                for topic, partitions in answer.topics:
                    for partition, code, _, _, _, _, _, data in partitions:
                        self._answered(Stream(topic, partition), code, data)
                self._continue(answer.session_id)  # comes last: it may forget what was requested
            await asyncio.sleep(began + self._pause_s() - loop.time())

    def _pause_s(self) -> float:
        """The time between two polls, which is up to the reader that is in the greatest hurry."""
        readers = (reader for each in self._followers.values() for reader in each.readers)
        return max(self._linger_s, min((reader.gather_s for reader in readers), default=0.0))

    def _request(self) -> Fetch:
        """Return the next request, which names only what has changed since the last."""
        positions: dict[str, list[tuple[int, int]]] = {}
        for stream, follower in self._followers.items():
            if self._requested.get(stream) != follower.position:
                positions.setdefault(stream.topic, []).append((stream.partition, follower.position))
                self._requested[stream] = follower.position
        forgotten: dict[str, list[int]] = {}
        for topic, partition in self._requested.keys() - self._followers.keys():
            forgotten.setdefault(topic, []).append(partition)
            del self._requested[Stream(topic, partition)]
        return Fetch(
            positions,
            max_bytes=POLL_BYTES,
            wait_ms=POLL_MS,
            session=self._session,
            forgotten=forgotten,
        )

    def _continue(self, session_id: int) -> None:
        if session_id:
            self._session = FetchSession(session_id, self._session.epoch).following()
        else:  # the broker has no room for a session: the next request asks for one again
            self._restart()

    def _restart(self) -> None:
        self._session, self._requested = NEW_SESSION, {}

    async def _failed(self, error: KafkaError) -> None:
        self._restart()
        if not (isinstance(error, Refused) and error.code in _SESSION_LOST):
            self.drop_all()
            self._cluster.learn()
            await asyncio.sleep(BACKOFF_S)

    def _answered(self, stream: Stream, code: int, data: bytes | None) -> None:
        follower = self._followers.get(stream)
        if follower is None or self._requested.get(stream, follower.position) != follower.position:
            return  # this answers a request for an earlier follower, which has left since
        fetched = Fetched(data, follower.position)
        records: list[Record] = []
        try:
            check(code)
            while batch := fetched.take():
                records += batch
        except KafkaError:
            self.drop(stream)
        else:
            if fetched.next > follower.position:
                follower.extend(records, fetched.next)


class Readers:
    """All readers of this process."""

    def __init__(self, cluster: Cluster, settings: KafkaSettings) -> None:
        self._cluster = cluster
        self._settings = settings
        self._polls: dict[int, _Poll] = {}  # by broker
        self._polled_by: dict[Stream, _Poll] = {}
        self._new = asyncio.Queue[_Poll]()
        self._offsets = Joined(self._ask_offsets)  # (broker, which) and stream -> offset

    async def run(self) -> None:
        """Poll until cancelled."""
        async with asyncio.TaskGroup() as polls:
            while True:
                polls.create_task((await self._new.get()).run())

    def close(self) -> None:
        """Wake all readers that wait, since the log is closed."""
        for poll in self._polls.values():
            poll.drop_all()

    async def read(
        self, stream: Stream, offset: int, gather_s: float
    ) -> AsyncGenerator[Sequence[Record]]:
        """Like `Backplane.read`."""
        reader = _Reader(offset, gather_s)
        try:
            while not self._cluster.closed:
                if batch := reader.take():
                    reader.last = batch[-1]
                    yield batch
                elif reader.live:
                    reader.woken.clear()
                    await reader.woken.wait()
                else:
                    fetched, end = await self._continued(stream, reader)
                    while batch := _taken(stream, fetched):
                        reader.last = batch[-1]
                        yield batch
                    reader.next = fetched.next
                    if reader.next >= end:
                        self._join(stream, reader)
        finally:
            self._leave(stream, reader)
        raise Unavailable("the log was closed")

    def _join(self, stream: Stream, reader: _Reader) -> None:
        """Make a reader live, unless the poll is further than the reader already."""
        poll = self._polled_by.get(stream)
        follower = poll.get(stream) if poll else None
        if follower is None:
            try:
                poll = self._poll_of(stream)
            except LeaderNotAvailableError:
                return  # the next fetch waits for a leader
            follower = _Follower(stream, reader.next)
            poll.add(follower)
        if reader.next >= follower.position:
            reader.live = True
            follower.readers.add(reader)

    def _poll_of(self, stream: Stream) -> _Poll:
        node = self._cluster.leader(stream)
        if node not in self._polls:
            self._polls[node] = _Poll(self._cluster, node, self._settings.linger_ms / 1_000)
            self._new.put_nowait(self._polls[node])
        self._polled_by[stream] = self._polls[node]
        return self._polls[node]

    def _leave(self, stream: Stream, reader: _Reader) -> None:
        poll = self._polled_by.get(stream)
        follower = poll.get(stream) if poll else None
        if poll and follower:
            follower.readers.discard(reader)
            if not follower.readers:
                poll.drop(stream)

    async def _fetch(self, stream: Stream, offset: int) -> tuple[Fetched, int]:
        """Return the records from `offset` on, and the offset at which the log ends for readers.
        Raises `Trimmed` and `Unavailable`.
        """

        async def fetch() -> tuple[Fetched, int]:
            request = Fetch({stream.topic: [(stream.partition, offset)]}, max_bytes=FETCH_BYTES)
            answer = await self._cluster.ask(self._cluster.leader(stream), request, "fetch")
            check(answer.error_code)
            ((_, ((_, code, end, _, _, _, _, data),)),) = answer.topics
            if code == _OUT_OF_RANGE:
                await self._explain(stream, offset)
            check(code)
            return Fetched(data, offset), end

        return await self._cluster.patiently(f"reading {stream}", fetch, self._settings.outage_s)

    async def _continued(self, stream: Stream, reader: _Reader) -> tuple[Fetched, int]:
        """Return what comes next, like `_fetch`.

        It is fetched together with the record before, which has to be the one that the reader was
        given: a new leader may have lost the end of the log, and use the same offsets again. Raises
        `Trimmed` and `Unavailable`.
        """
        while (last := reader.last) is not None:
            try:
                fetched, end = await self._fetch(stream, last.offset)
            except Trimmed:
                break
            with _readable(stream):
                again = fetched.first()
            if again:
                if (again.offset, again.appended_at_ms) == (last.offset, last.appended_at_ms):
                    if self._has_more(stream, fetched):
                        return fetched, end
                    break  # the broker gives no more at once, or this is the end
                raise Unavailable(
                    f"the log has lost its end: at offset {last.offset} of {stream.topic} "
                    f"{stream.partition} there is another record than before"
                )
            await asyncio.sleep(BACKOFF_S)  # a new leader does not show yet where the log ends
        return await self._fetch(stream, reader.next)

    def _has_more(self, stream: Stream, fetched: Fetched) -> bool:
        with _readable(stream):
            more = fetched.has_more
        return more

    async def _explain(self, stream: Stream, offset: int) -> None:
        start, end = await self._bounds(stream)
        if offset < start:
            raise Trimmed(stream.partition, offset, start)
        if offset > end:
            raise Unavailable(
                f"offset {offset} of {stream.topic} {stream.partition} lies beyond the end, {end}: "
                "either nobody has appended that far, or the log has lost what it acknowledged"
            )

    async def bounds(self, stream: Stream) -> tuple[int, int]:
        """Like `Backplane.bounds`. Raises `Unavailable`."""
        return await self._cluster.patiently(f"bounds of {stream}", lambda: self._bounds(stream))

    async def _bounds(self, stream: Stream) -> tuple[int, int]:
        start, end = self._offset(stream, _EARLIEST), self._offset(stream, _LATEST)
        return await start, await end

    async def offset_at(self, stream: Stream, at_ms: int) -> int:
        """Like `Backplane.offset_at`. Raises `Unavailable`."""

        async def found() -> int:
            """Ask for the end first: what is appended in between is no older."""
            end, first = self._offset(stream, _LATEST), self._offset(stream, max(0, at_ms))
            return await end if await first < 0 else await first

        return await self._cluster.patiently(f"times of {stream}", found)

    def _offset(self, stream: Stream, which: int) -> asyncio.Future[int]:
        """Ask for the offset at `which`, a time in ms or one of the ends; it is -1 if there is none
        of that time or later. Raises `LeaderNotAvailableError`.
        """
        return self._offsets.answer((self._cluster.leader(stream), which), stream)

    async def _ask_offsets(
        self, to: tuple[int, int], streams: Sequence[Stream]
    ) -> dict[Stream, int | KafkaError]:
        node, which = to
        topics: dict[str, list[tuple[int, int]]] = {}
        for topic, partition in streams:
            topics.setdefault(topic, []).append((partition, which))
        answer = await self._cluster.ask(node, OffsetRequest(-1, 0, list(topics.items())))
        return {
            Stream(topic, partition): Refused(code) if code else int(offset)
            for topic, partitions in answer.topics
            for partition, code, _, offset in partitions
        }


def _taken(stream: Stream, fetched: Fetched) -> list[Record]:
    with _readable(stream):
        batch = fetched.take()
    return batch


@contextmanager
def _readable(stream: Stream) -> Iterator[None]:
    try:
        yield
    except CorruptRecordException as error:
        raise Unavailable(f"{stream.topic} {stream.partition}: {error}") from error
