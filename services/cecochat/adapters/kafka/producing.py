"""Producer sessions. Each has its own producer id and queues, and several share a sender."""

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
"""The most records in a batch. Small records fill a batch up to its bytes."""


class _Append:
    """A call of `append`, which is done when all its records are durable."""

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
            self.done.exception()  # else asyncio complains if nobody waits any more


@dataclass(slots=True)
class _Queue:
    """What a session has for one partition, in order. The first `sent` records are on their way."""

    sequence: int = 0
    records: deque[NewRecord] = field(default_factory=deque)
    appends: deque[_Append] = field(default_factory=deque)  # of each record
    sent: int = 0


class Session(Producer):
    """A producer session.

    For each partition, one batch at a time is on its way, and it is sent again unchanged until it
    is acknowledged. So what lands in a partition is a prefix of what was appended. After the first
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
        self._refusal: str | None = None  # why no more appends are taken
        self.ended = False  # nothing may be sent again

    @override
    async def append(self, records: Sequence[NewRecord]) -> None:
        if self._refusal is not None:
            raise ProducerEnded(self._refusal)
        for record in records:
            if reason := self._why_unfit(record):
                self.end(reason)
                raise ProducerEnded(reason)
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
        """Send no more. What is on its way may land or not, and its appends succeed or fail with
        it. All other appends fail.
        """
        self._refusal, self.ended = reason, True
        for queue in self._queues.values():
            self._fail(queue, reason)

    def abandon(self, reason: str) -> None:
        """End the session when its sender does not run any more."""
        for queue in self._queues.values():
            queue.sent = 0
        self.end(reason)
        self._idle.set()

    def _fail(self, queue: _Queue, reason: str) -> None:
        while len(queue.records) > queue.sent:
            queue.records.pop()
            queue.appends.pop().failed(reason)

    def _why_unfit(self, record: NewRecord) -> str | None:
        if not 0 <= record.partition < self._partitions:
            return f"there is no partition {record.partition}: use 0 to {self._partitions - 1}"
        large = len(record.key) + len(record.value) > RECORD_BYTES_MAX // 2
        if large and size_of(record) > RECORD_BYTES_MAX:
            return f"a record has {size_of(record)} bytes, and {RECORD_BYTES_MAX} are allowed"
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
        """Take the next batch of a partition; None if the session has ended."""
        queue = self._queues[stream.partition]
        if not queue.records:
            self._emptied()
            return None
        records = islice(queue.records, BUILD_RECORDS)
        data, queue.sent = build(records, self._producer, queue.sequence)
        queue.sequence = (queue.sequence + queue.sent) & SEQUENCE_MASK
        return Batch(stream, self, data, self._sender.deadline())

    def landed(self, stream: Stream) -> None:
        """Note that the batch that was taken is durable."""
        queue = self._queues[stream.partition]
        for _ in range(queue.sent):
            queue.records.popleft()
            queue.appends.popleft().landed()
        queue.sent = 0
        if queue.records:
            self._sender.offer(stream, self)
        else:
            self._emptied()

    def failed(self, stream: Stream, reason: str) -> None:
        """Note that the batch that was taken will not be sent again. It may have landed or not."""
        queue = self._queues[stream.partition]
        queue.sent = 0
        self.end(f"the append failed, open a new session: {reason}")
        self._emptied()

    def _emptied(self) -> None:
        self._busy -= 1
        if not self._busy:
            self._idle.set()
