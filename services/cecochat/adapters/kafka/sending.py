"""Sends what sessions offer: one request at a time per broker, with a batch for each partition."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol

from aiokafka.errors import KafkaError  # type: ignore[import-untyped]
from aiokafka.protocol.produce import ProduceRequest  # type: ignore[import-untyped]

from cecochat.adapters.kafka.cluster import BACKOFF_S, Cluster, Refused, Stream
from cecochat.adapters.kafka.settings import KafkaSettings

REQUEST_BYTES: Final = 8 << 20
ALL_IN_SYNC: Final = -1  # acks=all
_DUPLICATE: Final = 46
"""The batch landed before, but too long ago for the broker to know where."""


class Source(Protocol):
    """A session, which has records for a partition, and is told what becomes of them."""

    ended: bool  # nothing may be sent again

    def take(self, stream: Stream) -> Batch | None:
        """Take its next batch, if it still has one."""

    def landed(self, stream: Stream) -> None:
        """Note that the batch is durable."""

    def failed(self, stream: Stream, reason: str) -> None:
        """Note that the batch will not be sent again. It may have landed or not."""


@dataclass(slots=True)
class Batch:
    """A batch, which is sent again unchanged until it is acknowledged, refused or too old."""

    stream: Stream
    source: Source
    data: bytes
    deadline: float  # of the event loop's clock


class Sender:
    """Sends batches. It collects them while a request is under way and while it lingers, so
    requests grow with the load.

    A request has one batch per partition, so sessions with records for the same partition take
    turns.
    """

    def __init__(self, cluster: Cluster, settings: KafkaSettings, lane: str) -> None:
        self._cluster = cluster
        self._settings = settings
        self._lane = lane
        self._offered: dict[Stream, deque[Source | Batch]] = {}
        self._busy: set[int] = set()  # brokers with a request under way
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def deadline(self) -> float:
        """Until when to try to send a batch that is taken now, by the event loop's clock."""
        return self._loop.time() + self._settings.outage_s

    def offer(self, stream: Stream, source: Source) -> None:
        """Call the source's `take` when it is its turn."""
        self._offered.setdefault(stream, deque()).append(source)
        self._wake.set()

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as requests:
            while True:
                await self._wake.wait()
                self._wake.clear()
                for node, batches in self._due().items():
                    self._busy.add(node)
                    requests.create_task(self._request(node, batches))

    def _due(self) -> dict[int, dict[Stream, Batch]]:
        due: dict[int, dict[Stream, Batch]] = {}
        sizes: dict[int, int] = {}
        for stream in list(self._offered):
            try:
                node = self._cluster.leader(stream)
            except KafkaError as error:
                while batch := self._next(stream):
                    self._again(batch, error)
                continue
            if node in self._busy or sizes.get(node, 0) > REQUEST_BYTES:
                continue
            if batch := self._next(stream):
                due.setdefault(node, {})[stream] = batch
                sizes[node] = sizes.get(node, 0) + len(batch.data)
        return due

    def _next(self, stream: Stream) -> Batch | None:
        """Return the batch of a stream whose turn it is. If the stream has more, it goes to the
        back.
        """
        offered = self._offered.pop(stream, deque[Source | Batch]())
        batch = None
        while offered and batch is None:
            first = offered.popleft()
            batch = first if isinstance(first, Batch) else first.take(stream)
        if offered:
            self._offered[stream] = offered
        return batch

    async def _request(self, node: int, batches: dict[Stream, Batch]) -> None:
        topics: dict[str, list[tuple[int, bytes]]] = {}
        for (topic, partition), batch in batches.items():
            topics.setdefault(topic, []).append((partition, batch.data))
        timeout_ms = int(self._settings.timeout_s * 1_000)
        request = ProduceRequest(None, ALL_IN_SYNC, timeout_ms, list(topics.items()))
        began = self._loop.time()
        try:
            answer = await self._cluster.ask(node, request, self._lane)
        except KafkaError as error:
            for batch in batches.values():
                self._again(batch, error)
        else:
            for topic, partitions in answer.topics:
                for partition, code, *_ in partitions:
                    self._answered(batches[Stream(topic, partition)], code)
        finally:
            self._loop.call_at(began + self._settings.linger_ms / 1_000, self._free, node)

    def _free(self, node: int) -> None:
        self._busy.discard(node)
        self._wake.set()

    def _answered(self, batch: Batch, code: int) -> None:
        if code in (0, _DUPLICATE):
            batch.source.landed(batch.stream)
        else:
            self._again(batch, Refused(code))

    def _again(self, batch: Batch, error: KafkaError) -> None:
        if batch.source.ended or not error.retriable or self._loop.time() > batch.deadline:
            batch.source.failed(batch.stream, f"{batch.stream}: {error}")
        else:
            self._cluster.learn()
            self._loop.call_later(BACKOFF_S, self._offer_again, batch)

    def _offer_again(self, batch: Batch) -> None:
        self._offered.setdefault(batch.stream, deque()).appendleft(batch)
        self._wake.set()
