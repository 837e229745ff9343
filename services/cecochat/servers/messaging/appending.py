"""Appends what an owner writes to its own partition, one batch after the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from cecochat.domain.log.records import LogRecord, encode
from cecochat.ports.backplane import NewRecord, Producer
from cecochat.servers.messaging.metrics import MessagingMetrics
from cecochat.servers.messaging.tracing import MessageTraces

QUEUED_MAX_BYTES = 4 << 20


class Appending:
    """A queue of records, and the loop that appends them. Copies do not wait here: they have lanes.
    `moved` is called whenever a batch was appended.
    """

    def __init__(
        self,
        partition: int,
        metrics: MessagingMetrics,
        traces: MessageTraces,
        moved: Callable[[], None],
    ) -> None:
        self._partition = partition
        self._metrics = metrics
        self._traces = traces
        self._moved = moved
        self._queued: list[NewRecord] = []
        self._queued_bytes = 0
        self._since_s: float | None = None  # when the append under way began
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._intake = asyncio.Event()
        self._intake.set()

    def queue(self, record: LogRecord) -> None:
        """Append a record with the next batch."""
        new = NewRecord(self._partition, *encode(record), decoded=record)
        self._queued.append(new)
        self._queued_bytes += len(new.key) + len(new.value)
        if self._queued_bytes > QUEUED_MAX_BYTES:
            self._room.clear()
        self._work.set()

    async def run(self, producer: Producer) -> None:
        """Append one batch at a time until cancelled. What is queued meanwhile is the next batch.
        Raises `ProducerEnded`.
        """
        while True:
            await self._work.wait()
            self._work.clear()
            batch, self._queued, self._queued_bytes = self._queued, [], 0
            self._since_s = time.monotonic()
            with self._traces.appending():
                await producer.append(batch)
            self._metrics.append_seconds.labels("own").observe(self.wait_s)
            self._since_s = None
            self._metrics.appended.inc(len(batch))
            self._room.set()
            self._moved()

    @property
    def waits(self) -> bool:
        """Whether anything waits for the next batch."""
        return bool(self._queued)

    @property
    def is_under_way(self) -> bool:
        """Whether anything is not appended yet."""
        return self.waits or self._since_s is not None

    @property
    def queued_bytes(self) -> int:
        """How many bytes wait for the next batch."""
        return self._queued_bytes

    @property
    def wait_s(self) -> float:
        """How many seconds the append under way has taken so far."""
        return 0.0 if self._since_s is None else time.monotonic() - self._since_s

    @property
    def has_room(self) -> bool:
        """Whether sends may be taken."""
        return self._room.is_set() and self._intake.is_set()

    async def room(self) -> None:
        """Wait until sends may be taken. They may not while the log does not keep up, and not at
        all after `stop_intake`.
        """
        while not self.has_room:  # another may have filled it
            await self._room.wait()
            await self._intake.wait()

    def stop_intake(self) -> None:
        """Take no more sends, for good."""
        self._intake.clear()
