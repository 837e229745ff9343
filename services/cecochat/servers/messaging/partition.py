"""The asyncio shell of an owner: it reads ahead, opens the producer session, appends what the owner
hands out, and feeds it the log.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing, suppress

from cecochat.domain.errors import ProducerEnded, Refusal, Trimmed, Unavailable, Undecodable
from cecochat.domain.log.records import Takeover
from cecochat.domain.ownership.owner import Owner
from cecochat.ports.backplane import MESSAGES, Producer, Record
from cecochat.ports.reading import decode_once, records_after
from cecochat.runtime.clock import now_ms
from cecochat.servers.messaging.appending import Appending
from cecochat.servers.messaging.asking import Ask, AskingHomes
from cecochat.servers.messaging.forward import Forwarding
from cecochat.servers.messaging.host import Host
from cecochat.servers.messaging.loading import Loading
from cecochat.servers.messaging.metrics import ReadBatch
from cecochat.servers.messaging.missing import MissingCopies
from cecochat.servers.messaging.ready import ReadyPartition
from cecochat.servers.messaging.tracing import MessageTraces
from cecochat.v1 import errors_pb2

log = logging.getLogger(__name__)

NEAR_RECORDS = 100  # a new owner appends its takeover when no more than this are left to read
STALLED_S = 0.5  # or when reading stands still: offsets at the end may be holes
YIELD_BYTES = 64 << 10
CROWDED_PAUSE_S = 0.002  # per 64 KiB: a client that reads less than 32 MiB/s of a burst is slow
HOUSEKEEPING_S = 1.0
LOST_S = 10.0  # by then, the log shows its readers what it has acknowledged
CLOSE_S = 5.0  # how long to wait for appends under way; what lands later does not count


class OwnedPartition:
    """One partition in one producer session, from reading ahead and takeover to its end.

    `run` returns the takeover of a later owner, or raises `ProducerEnded`; then a new object has to
    be made.
    """

    def __init__(
        self, host: Host, partition: int, version: int, on_ready: Callable[[], None], ask: Ask
    ) -> None:
        self.partition = partition
        self.version = version  # of the assignment
        self.ready: ReadyPartition | None = None  # set from its takeover to its end
        self.claimed = False  # its takeover is on the way
        self._log_fields = {"partition": partition}
        self._host = host
        self._log = host.log
        self._metrics = host.metrics
        self._on_ready = on_ready
        self._ask = ask
        self._traces = MessageTraces(host.tracer, partition)
        self._begun_s = time.monotonic()
        self._stood = (-1, self._begun_s)  # the cursor while it waits, and since when
        self._moved = asyncio.Event()
        self._loading = Loading(host, partition)
        self.appending = Appending(partition, host.metrics, self._traces, self._moved.set)

    # -- life

    async def run(self) -> Takeover:
        """Take over, then serve until a later owner takes over."""
        ended: BaseExceptionGroup[ProducerEnded | Trimmed | Unavailable] | None = None
        try:
            return await self._own()
        except* (ProducerEnded, Trimmed, Unavailable) as group:
            ended = group
        raise ProducerEnded(f"partition {self.partition} has ended: {ended.exceptions[0]}")

    async def _own(self) -> Takeover:
        producer = await self._log.backplane.producer()
        superseded: Takeover | None = None
        try:
            owner = await self._loading.load()
            try:
                superseded = await self._serve(owner, producer)
            finally:
                self._end(owner, superseded)
            return superseded
        finally:
            await self._close(producer)

    async def _close(self, producer: Producer) -> None:
        """Close the producer session, but not at any price: a target of copies that is down must
        not keep this partition from being taken over.
        """
        try:
            async with asyncio.timeout(CLOSE_S):
                await producer.close()
        except TimeoutError:
            log.warning(
                "the owner of partition %s has ended with appends under way",
                self.partition,
                extra=self._log_fields,
            )

    async def _serve(self, owner: Owner, producer: Producer) -> Takeover:
        async with asyncio.TaskGroup() as group:
            forwarding = Forwarding(
                self._host, owner, producer, group, self._traces, self._moved.set
            )
            missing = MissingCopies(self._host, owner, producer, group)
            asking = AskingHomes(owner, self._ask, self._metrics)
            helpers = [
                group.create_task(self.appending.run(producer)),
                group.create_task(self._keep_house(owner, asking)),
                group.create_task(self._claim(owner)),
                group.create_task(forwarding.recall()),
                group.create_task(missing.run()),
                group.create_task(asking.run()),
            ]
            superseded = await self._follow(owner, forwarding, asking)
            forwarding.stop()
            missing.stop()
            for helper in helpers:
                helper.cancel()
        return superseded

    async def _claim(self, owner: Owner) -> None:
        """Append the takeover once nearly everything is read. Until then the previous owner serves
        on, and after that there is little left to read.
        """
        backplane, partition = self._log.backplane, self.partition
        with suppress(TimeoutError):
            while owner.cursor < (await backplane.bounds(MESSAGES, partition))[1] - NEAR_RECORDS:
                self._moved.clear()
                async with asyncio.timeout(STALLED_S):
                    await self._moved.wait()
        start, end = await backplane.bounds(MESSAGES, partition)
        committed = await self._loading.committed()
        lowest = await self._loading.first_known(start)
        forwarded = await self._loading.forwarded(committed)
        if max(lowest, -1 if forwarded is None else forwarded) < owner.forwarder.skipped:
            raise ProducerEnded("less is forwarded now than when this owner was loaded")
        owner.forwarder.skip(-1 if forwarded is None else forwarded)
        self.claimed = True
        uncopied, lost = self._loading.uncopied(committed, end), self._loading.lost
        takeover = owner.takeover(self._host.server_id, self.version, now_ms(), uncopied, lost)
        self.appending.queue(takeover)

    def _start(self, owner: Owner, asking: AskingHomes) -> None:
        self._metrics.partitions.inc()
        self._metrics.takeovers.inc()
        self._metrics.takeover_seconds.observe(time.monotonic() - self._begun_s)
        self.ready = ReadyPartition(
            self._host,
            owner,
            self._loading,
            self.appending,
            asking,
            self._traces,
            self._while_ready,
        )
        self._on_ready()

    def _end(self, owner: Owner, superseded: Takeover | None) -> None:
        if self.ready:
            self._metrics.partitions.dec()
        self.ready = None
        self._traces.end()
        self._moved.set()
        owner.end(
            Refusal(
                errors_pb2.ERROR_CODE_MOVED,
                "this partition is being taken over: ask the connect server where to go, then "
                "resume",
            ),
            *(self._host.addresses_of(superseded.server_id) if superseded else ()),
        )

    async def _follow(self, owner: Owner, forwarding: Forwarding, asking: AskingHomes) -> Takeover:
        batches = records_after(self._log.backplane, self.partition, owner.place)
        async with aclosing(batches):
            async for batch in batches:
                now = now_ms()
                measured = ReadBatch() if owner.ready else None  # what is read ahead is not
                await self._read(owner, batch, now, measured)
                self._metrics.deliver(owner.take_delivered())
                if owner.superseded:
                    return owner.superseded
                if measured:
                    self._metrics.read(measured)
                self._moved.set()
                if owner.epoch and owner.lacks_members:
                    await self._loading.learn_members(owner)
                if owner.ready:
                    if self.ready is None:
                        self._start(owner, asking)
                    self._after_batch(owner, forwarding, now)
                    asking.look()
        raise AssertionError("a log has no end")

    async def _read(
        self, owner: Owner, batch: Sequence[Record], now: int, measured: ReadBatch | None
    ) -> None:
        unread_bytes = 0
        for record in batch:
            self._read_one(owner, record, now, measured)
            unread_bytes += len(record.value)
            if unread_bytes > YIELD_BYTES:
                unread_bytes = 0
                await self._let_clients_read(owner)

    def _read_one(self, owner: Owner, record: Record, now: int, measured: ReadBatch | None) -> None:
        decoded = decode_once(record)
        if isinstance(decoded, Undecodable):
            owner.skip(record.offset, decoded, record.appended_at_ms)
        else:
            counts = owner.read(record.offset, decoded, record.appended_at_ms, now)
            if counts:
                self._traces.read(owner, record.offset, decoded, now)
            if measured:
                measured.add(decoded, counts, owner.fold)
        if owner.must_end:
            raise ProducerEnded(f"offset {record.offset} {owner.must_end}")

    async def _let_clients_read(self, owner: Owner) -> None:
        """Pause, so that a burst does not overrun the queue of a client that reads fast enough."""
        await asyncio.sleep(CROWDED_PAUSE_S if owner.crowded else 0)
        owner.crowded = False

    def _after_batch(self, owner: Owner, forwarding: Forwarding, now: int) -> None:
        owner.forwarder.caught_up(owner.cursor - 1)
        forwarding.forward()
        self._state_if_due(owner, now)

    def _state_if_due(self, owner: Owner, now: int) -> None:
        if owner.state_due(now):
            self._say_state(owner, now)

    def _say_state(self, owner: Owner, now: int) -> None:
        for state in owner.states(now):
            self.appending.queue(state)

    # -- housekeeping

    async def _keep_house(self, owner: Owner, asking: AskingHomes) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            if owner.ready:
                now = now_ms()
                owner.expire(now)
                asking.look()
                self._state_if_due(owner, now)
            self._expect_to_read(owner)

    def _expect_to_read(self, owner: Owner) -> None:
        """Check that what was appended can be read back. Raises `ProducerEnded` if it cannot for
        long: the log has lost it, and nothing that comes later would show that.
        """
        now_s, waits = time.monotonic(), self.claimed and (not owner.ready or bool(owner.pending))
        if not waits or self.appending.is_under_way or self._stood[0] != owner.cursor:
            self._stood = (owner.cursor, now_s)
        elif now_s - self._stood[1] > LOST_S:
            raise ProducerEnded(f"offset {owner.cursor} was appended but cannot be read back")

    # -- the end

    async def finish_sends(self, deadline_s: float) -> None:
        """Take no more sends, and wait until those under way are answered. Those that wait for the
        home of a group are sent again by their clients: it may be stopping, too.
        """
        self.appending.stop_intake()
        await self._until(lambda owner: not owner.pending, deadline_s, "answered")

    async def drain(self, deadline_s: float) -> None:
        """Append a state record, so that the next owner starts quickly, and wait until all copies
        are forwarded.
        """
        if self.ready is None or not self.ready.owner.ready:
            return
        self._say_state(self.ready.owner, now_ms())
        await self._until(
            lambda owner: not (owner.pending or self.appending.waits or owner.forwarder.owes),
            deadline_s,
            "forwarded",
        )

    async def _while_ready(self, done: Callable[[], bool]) -> None:
        """Wait for something that the log will bring, or until the owner that is ready now ends."""
        ready = self.ready
        while self.ready is ready and ready and not done():
            self._moved.clear()
            await self._moved.wait()

    async def _until(self, done: Callable[[Owner], bool], deadline_s: float, what: str) -> None:
        try:
            async with asyncio.timeout(deadline_s):
                while self.ready and not done(self.ready.owner):
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            log.warning(
                "not everything of partition %s was %s in time: the next owner will finish it",
                self.partition,
                what,
                extra=self._log_fields,
            )
