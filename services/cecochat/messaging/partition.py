"""The asyncio shell of an owner: opens the producer session, appends what it hands out, feeds it
the log.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from contextlib import aclosing
from typing import NamedTuple

from cecochat.domain.errors import ProducerEnded, Refusal, Trimmed, Unavailable, Undecodable
from cecochat.domain.ids import PARTITIONS_MAX, message_id, stamp_at
from cecochat.domain.limits import OwnerLimits
from cecochat.domain.owner import Owner
from cecochat.domain.partitions import partition_of
from cecochat.domain.records import LogRecord, Takeover, encode
from cecochat.domain.session import Session
from cecochat.messaging.metrics import MessagingMetrics
from cecochat.ports.backplane import MESSAGES, Backplane, NewRecord, Producer
from cecochat.runtime.reading import decode_once, first_known, fold_at
from cecochat.v1 import errors_pb2
from cecochat.v1.messaging_pb2 import Send

log = logging.getLogger(__name__)

FORWARD_GROUP = "forward"
MATERIALIZE_GROUP = "materialize"
# Read back at a takeover, so that repeats are known by heart across a restart.
RESEND_RECORDS = 1_000
QUEUED_MAX_BYTES = 4 << 20
FORWARD_AT_ONCE = 1_000
CLOCKS_APART_MAX_MS = 60_000
YIELD_BYTES = 64 << 10
CROWDED_PAUSE_S = 0.002  # for 64 KiB: who reads less than 32 MiB/s of such a burst is slow
HOUSEKEEPING_S = 1.0


class Log(NamedTuple):
    """The log, and what never changes about it."""

    backplane: Backplane
    id: str
    partitions: int


def now_ms() -> int:
    """Wall clock, ms since 1970."""
    return time.time_ns() // 1_000_000


class OwnedPartition:
    """One partition under one producer session, from takeover to its end.

    `run` returns the takeover of a later owner, or raises `ProducerEnded`; then a new one has to be
    made.
    """

    def __init__(
        self,
        log_: Log,
        partition: int,
        server_id: str,
        version: int,
        limits: OwnerLimits,
        metrics: MessagingMetrics,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self.log = log_
        self.partition = partition
        self.owner: Owner | None = None
        self.ready = asyncio.Event()
        self._server_id = server_id
        self._version = version
        self._limits = limits
        self._metrics = metrics
        self._on_ready = on_ready
        self._begun_s = time.monotonic()
        # To append, each with the origin offset that a copy is of.
        self._queued: list[tuple[NewRecord, int | None]] = []
        self._queued_bytes = 0
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._intake = asyncio.Event()
        self._intake.set()
        self._moved = asyncio.Event()
        self._committed = -1
        self._lowest: tuple[int, int] | None = None  # (start of the log, first known position)

    # -- life

    async def run(self) -> Takeover:
        """Take over, then serve until a later owner does."""
        ended: BaseExceptionGroup[ProducerEnded | Trimmed | Unavailable] | None = None
        try:
            return await self._own()
        except* (ProducerEnded, Trimmed, Unavailable) as group:
            ended = group
        raise ProducerEnded(f"partition {self.partition}: {ended.exceptions[0]}")

    async def _own(self) -> Takeover:
        producer = await self.log.backplane.producer()
        try:
            self.owner = await self._load()
            return await self._serve(self.owner, producer)
        finally:
            self._end()
            await producer.close()

    async def _serve(self, owner: Owner, producer: Producer) -> Takeover:
        async with asyncio.TaskGroup() as group:
            helpers = [
                group.create_task(self._append(owner, producer)),
                group.create_task(self._keep_house(owner)),
            ]
            self._queue(self.partition, owner.takeover(self._server_id, self._version))
            superseded = await self._follow(owner)
            for helper in helpers:
                helper.cancel()
        return superseded

    async def _load(self) -> Owner:
        backplane, partition = self.log.backplane, self.partition
        forwarded = (await backplane.committed(FORWARD_GROUP, MESSAGES, partition) or 0) - 1
        _, end = await backplane.bounds(MESSAGES, partition)
        lowest = await self.first_known()
        forwarded = max(forwarded, lowest)  # retention keeps what is not forwarded
        position = max(min(forwarded, end - 1 - RESEND_RECORDS), lowest)
        self._committed = forwarded
        return Owner(
            partition,
            uuid.uuid4().hex,
            await fold_at(backplane, partition, position),
            cursor=position + 1,
            forwarded=forwarded,
            place=lambda user: partition_of(user, self.log.partitions),
            limits=self._limits,
        )

    async def first_known(self) -> int:
        """The lowest position that can be resumed from."""
        start, _ = await self.log.backplane.bounds(MESSAGES, self.partition)
        if self._lowest is None or self._lowest[0] != start:
            self._lowest = (start, await first_known(self.log.backplane, self.partition))
        return self._lowest[1]

    def _start(self) -> None:
        self._metrics.partitions.inc()
        self._metrics.takeovers.inc()
        self._metrics.takeover_seconds.observe(time.monotonic() - self._begun_s)
        self.ready.set()
        self._on_ready()

    def _end(self) -> None:
        if self.ready.is_set():
            self._metrics.partitions.dec()
        self.ready.clear()
        self._moved.set()
        if self.owner:
            self.owner.end(
                Refusal(
                    errors_pb2.ERROR_CODE_MOVED,
                    "the partition is being taken over: ask the connect server where, then resume",
                )
            )

    async def _follow(self, owner: Owner) -> Takeover:
        batches = self.log.backplane.read(MESSAGES, self.partition, owner.cursor)
        async with aclosing(batches):
            async for batch in batches:
                now = now_ms()
                unread_bytes = 0
                for record in batch:
                    known = decode_once(record)
                    if not isinstance(known, Undecodable):
                        owner.read(record.offset, known, now)
                    unread_bytes += len(record.value)
                    if unread_bytes > YIELD_BYTES:
                        unread_bytes = 0
                        await self._let_clients_read(owner)
                if owner.superseded:
                    return owner.superseded
                if owner.ready:
                    self._after_batch(owner)
        raise AssertionError("a log has no end")

    async def _let_clients_read(self, owner: Owner) -> None:
        """A burst must not overrun the queue of a client that reads as it should."""
        await asyncio.sleep(CROWDED_PAUSE_S if owner.crowded else 0)
        owner.crowded = False

    def _after_batch(self, owner: Owner) -> None:
        if not self.ready.is_set():
            self._start()
        self._moved.set()
        self._forward(owner)
        if owner.state_due:
            self._queue(self.partition, owner.state())

    def _forward(self, owner: Owner) -> None:
        """Emit what is owed, as far as there is room for it; `_append` calls again when there
        is.
        """
        while self._room.is_set() and (copies := owner.forwarder.take(FORWARD_AT_ONCE)):
            for target, copy in copies:
                self._queue(target, copy, copy.origin_offset)
        owner.forwarder.caught_up(owner.cursor - 1)

    # -- appending

    def _queue(self, target: int, record: LogRecord, origin_offset: int | None = None) -> None:
        new = NewRecord(target, *encode(record))
        self._queued.append((new, origin_offset))
        self._queued_bytes += len(new.key) + len(new.value)
        if self._queued_bytes > QUEUED_MAX_BYTES:
            self._room.clear()
        self._work.set()

    async def _append(self, owner: Owner, producer: Producer) -> None:
        """One batch at a time: what comes meanwhile is the next batch."""
        while True:
            await self._work.wait()
            self._work.clear()
            batch, self._queued, self._queued_bytes = self._queued, [], 0
            await producer.append([record for record, _ in batch])
            self._metrics.appended.inc(len(batch))
            for _, origin_offset in batch:
                if origin_offset is not None:
                    owner.forwarder.acknowledged(origin_offset)
            self._room.set()
            self._moved.set()
            if owner.ready:
                self._forward(owner)

    async def room(self) -> None:
        """Wait until sends may be taken in: intake stops while the log does not keep up, and for
        good before a drain.
        """
        await self._room.wait()
        await self._intake.wait()

    # -- sessions

    def settles(self, session: Session, send: Send, seen: int) -> bool:
        """Whether a send needs no append; also where the owner has ended and closes the session."""
        return self.owner is None or not self.owner.ready or self.owner.settles(session, send, seen)

    def id_max(self) -> int:
        """Above what this partition has seen, and above what a clock a minute ahead has stamped."""
        assert self.owner
        ahead = stamp_at(now_ms() + CLOCKS_APART_MAX_MS)
        return message_id(max(self.owner.fold.top, ahead), PARTITIONS_MAX - 1)

    def accept(self, session: Session, send: Send, recipients: tuple[str, ...]) -> None:
        """Append a checked send that was not settled."""
        assert self.owner
        self._queue(self.partition, self.owner.accept(session, send, recipients, now_ms()))

    # -- housekeeping

    async def _keep_house(self, owner: Owner) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            if owner.ready:
                owner.expire(now_ms())
                await self._commit(owner)

    async def _commit(self, owner: Owner) -> None:
        """Best effort: a stale watermark only costs repeated copies and a longer log."""
        try:
            await self._store_watermarks(owner)
        except Unavailable as error:
            log.warning("partition %s: watermarks are not stored: %s", self.partition, error)

    async def _store_watermarks(self, owner: Owner) -> None:
        done = owner.forwarder.done
        if done != self._committed:
            await self.log.backplane.commit(FORWARD_GROUP, MESSAGES, {self.partition: done + 1})
            self._committed = done
        materialized = await self.log.backplane.committed(
            MATERIALIZE_GROUP, MESSAGES, self.partition
        )
        if before := owner.released(materialized or 0):
            await self.log.backplane.release(MESSAGES, self.partition, before)

    # -- the end

    async def finish_sends(self, deadline_s: float) -> None:
        """Take no more sends, and answer those under way."""
        self._intake.clear()
        await self._until(lambda owner: not owner.pending, deadline_s, "answered")

    async def drain(self, deadline_s: float) -> None:
        """Wait for the copies under way and leave a state record, so that the next owner starts
        quickly.
        """
        owner = self.owner
        if owner is None or not owner.ready:
            return
        self._queue(self.partition, owner.state())
        await self._until(
            lambda owner: not (owner.pending or self._queued or owner.forwarder.backlog),
            deadline_s,
            "forwarded",
        )
        await self._commit(owner)

    async def _until(self, done: Callable[[Owner], bool], deadline_s: float, what: str) -> None:
        owner = self.owner
        try:
            async with asyncio.timeout(deadline_s):
                while owner and self.ready.is_set() and not done(owner):
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            log.warning("partition %s: not all was %s, the next owner will", self.partition, what)
