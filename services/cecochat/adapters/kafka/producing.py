"""Producer sessions: each with a producer id and a queue of its own, over one shared sender."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from typing_extensions import override

from cecochat.adapters.kafka.batches import SEQUENCE_MASK, ProducerId, build, size_of
from cecochat.adapters.kafka.cluster import Stream
from cecochat.adapters.kafka.sending import Batch, Sender
from cecochat.adapters.kafka.topics import RECORD_BYTES_MAX
from cecochat.domain.errors import ProducerEnded
from cecochat.ports.backplane import NewRecord, Producer

BUILD_RECORDS = 10_000
"""Records in a batch at most; what is small fills up to the bytes of a batch."""


class _Append:
    """A call of `append`: done when all its records are durable."""

    def __init__(self, records: int) -> None:
        self.missing = records
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def landed(self) -> None:
        self.missing -= 1
        if not self.missing and not self.done.done():
            self.done.set_result(None)

    def failed(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(ProducerEnded(reason))
            self.done.exception()  # it may be that nobody waits any more


@dataclass(slots=True)
class _Queue:
    """What a session has for one partition, in order; the first `sent` are on their way."""

    sequence: int = 0
    records: deque[NewRecord] = field(default_factory=deque)
    appends: deque[_Append] = field(default_factory=deque)  # of each record
    sent: int = 0


class Session(Producer):
    """One batch a partition is on its way at a time, and is sent again as it is until it is
    acknowledged: so what lands in a partition is a prefix of what was given. After the first
    failure nothing more is sent.
    """

    def __init__(self, sender: Sender, topic: str, partitions: int, producer: ProducerId) -> None:
        self._sender = sender
        self._topic = topic
        self._partitions = partitions
        self._producer = producer
        self._queues: dict[int, _Queue] = {}
        self._busy = 0  # queues that are not empty
        self._idle = asyncio.Event()
        self._idle.set()
        self._refusal: str | None = None  # why no more is taken in
        self.ended = False  # nothing is to be sent again

    @override
    async def append(self, records: Sequence[NewRecord]) -> None:
        if self._refusal is not None:
            raise ProducerEnded(self._refusal)
        for record in records:
            if unfit := self._unfit(record):
                self.end(unfit)
                raise ProducerEnded(unfit)
        if records:
            append = _Append(len(records))
            for record in records:
                self._queue(record, append)
            await append.done

    @override
    async def close(self) -> None:
        self._refusal = self._refusal or "this producer session was closed: open a new one"
        await self._idle.wait()

    def end(self, reason: str) -> None:
        """Send no more. What is on its way may land or not, and its appends are told which; all
        others fail.
        """
        self._refusal, self.ended = reason, True
        for queue in self._queues.values():
            self._fail(queue, reason)

    def abandon(self, reason: str) -> None:
        """End, where nothing sends any more."""
        for queue in self._queues.values():
            queue.sent = 0
        self.end(reason)
        self._idle.set()

    def _fail(self, queue: _Queue, reason: str) -> None:
        while len(queue.records) > queue.sent:
            queue.records.pop()
            queue.appends.pop().failed(reason)

    def _unfit(self, record: NewRecord) -> str | None:
        if not 0 <= record.partition < self._partitions:
            return f"partition {record.partition}: there are 0 to {self._partitions - 1}"
        large = len(record.key) + len(record.value) > RECORD_BYTES_MAX // 2
        if large and size_of(record) > RECORD_BYTES_MAX:
            return f"a record of {size_of(record)} bytes: {RECORD_BYTES_MAX} at most"
        return None

    def _queue(self, record: NewRecord, append: _Append) -> None:
        queue = self._queues.get(record.partition)
        if queue is None:
            queue = self._queues[record.partition] = _Queue()
        queue.records.append(record)
        queue.appends.append(append)
        if len(queue.records) == 1:
            self._busy += 1
            self._idle.clear()
            self._sender.offer(Stream(self._topic, record.partition), self)

    # -- what the sender calls

    def take(self, stream: Stream) -> Batch | None:
        """The next batch of a partition; None where the session has ended."""
        queue = self._queues[stream.partition]
        if not queue.records:
            self._rest()
            return None
        records = islice(queue.records, BUILD_RECORDS)
        data, queue.sent = build(records, self._producer, queue.sequence)
        queue.sequence = (queue.sequence + queue.sent) & SEQUENCE_MASK
        return Batch(stream, self, data, self._sender.deadline())

    def landed(self, stream: Stream) -> None:
        """The batch that was taken is durable."""
        queue = self._queues[stream.partition]
        for _ in range(queue.sent):
            queue.records.popleft()
            queue.appends.popleft().landed()
        queue.sent = 0
        if queue.records:
            self._sender.offer(stream, self)
        else:
            self._rest()

    def failed(self, stream: Stream, reason: str) -> None:
        """It will not be sent again: it may have landed or not."""
        queue = self._queues[stream.partition]
        queue.sent = 0
        self.end(f"the append failed, open a new session: {reason}")
        self._rest()

    def _rest(self) -> None:
        self._busy -= 1
        if not self._busy:
            self._idle.set()
