"""Signals in a topic of Kafka, over connections of their own. A leader acknowledges them alone, and
what no leader takes soon is dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

from aiokafka.errors import KafkaError  # type: ignore[import-untyped]
from aiokafka.protocol.produce import ProduceRequest  # type: ignore[import-untyped]
from typing_extensions import override

from cecochat.adapters.kafka.batches import ProducerId, build
from cecochat.adapters.kafka.cluster import AGAIN_S, BACKOFF_S, Cluster, Stream
from cecochat.adapters.kafka.reading import Readers
from cecochat.adapters.kafka.settings import KafkaSettings
from cecochat.adapters.kafka.topics import open_signals
from cecochat.domain.errors import Trimmed, Unavailable
from cecochat.ports.backplane import NewRecord
from cecochat.ports.signals import Heard, Signals

QUEUED_MAX_BYTES: Final = 4 << 20
GATHER_S: Final = 0.05
"""How far apart requests to a broker begin, those to publish and those to listen."""
WAIT_MAX_S: Final = 5.0
"""How long a signal may wait, for example for a leader. What is older says little."""

_BY_THE_LEADER: Final = 1  # acks
_NOT_NUMBERED: Final = (ProducerId(-1, -1), -1)


class _Waiting(NamedTuple):
    since_s: float  # by the monotonic clock
    record: NewRecord


_Batches = dict[int, list[_Waiting]]
"""By partition."""


class KafkaSignals(Signals):
    """The signals of a log in Kafka. `run` has to run."""

    def __init__(self, settings: KafkaSettings, cluster: Cluster, topic: str) -> None:
        """Use `open` instead."""
        self._settings = settings
        self._cluster = cluster
        self._topic = topic
        self._readers = Readers(cluster, settings)
        self._queued: deque[_Waiting] = deque()
        self._queued_bytes = 0
        self._busy: set[int] = set()  # brokers with a request under way
        self._wake = asyncio.Event()
        self._dropped = 0

    @classmethod
    async def open(cls, settings: KafkaSettings) -> KafkaSignals:
        """Open the topic, or create it. Raises `InvalidSettings` and `Unavailable`."""
        cluster = Cluster(settings)
        try:
            await cluster.connect()
            return cls(settings, cluster, await open_signals(cluster, settings))
        except BaseException:
            await cluster.close()
            raise

    async def run(self) -> None:
        """Publish and listen until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._readers.run())
            while True:
                await self._wake.wait()
                self._wake.clear()
                for node, batches in self._due().items():
                    self._busy.add(node)
                    tasks.create_task(self._send(node, batches))

    async def close(self) -> None:
        """Close the connections. What was not sent is dropped."""
        await self._cluster.close()

    @override
    def publish(self, partition: int, value: bytes) -> None:
        self._queued.append(_Waiting(time.monotonic(), NewRecord(partition, b"", value, ())))
        self._queued_bytes += len(value)
        while self._queued_bytes > QUEUED_MAX_BYTES:
            self._queued_bytes -= len(self._queued.popleft().record.value)
            self._dropped += 1
        self._wake.set()

    @property
    @override
    def dropped(self) -> int:
        return self._dropped

    def _due(self) -> dict[int, _Batches]:
        """Take what is queued for brokers that are not busy, and drop what is too old."""
        due: dict[int, _Batches] = defaultdict(lambda: defaultdict(list))
        oldest_s = time.monotonic() - WAIT_MAX_S
        queued, self._queued = self._queued, deque()
        for waiting in queued:
            partition = waiting.record.partition
            node = self._leader(partition)
            if waiting.since_s < oldest_s:
                self._dropped += 1
            elif node is None or node in self._busy:
                self._queued.append(waiting)
            else:
                due[node][partition].append(waiting)
        self._queued_bytes = sum(len(each.record.value) for each in self._queued)
        return due

    def _leader(self, partition: int) -> int | None:
        """Return the leader of a partition. If there is none, look again soon."""
        try:
            return self._cluster.leader(Stream(self._topic, partition))
        except KafkaError:
            self._look_again()
            return None

    def _look_again(self) -> None:
        self._cluster.learn()
        asyncio.get_running_loop().call_later(BACKOFF_S, self._wake.set)

    async def _send(self, node: int, batches: _Batches) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        data = [(partition, self._built(waiting)) for partition, waiting in batches.items()]
        timeout_ms = int(self._settings.timeout_s * 1_000)
        request = ProduceRequest(None, _BY_THE_LEADER, timeout_ms, [(self._topic, data)])
        try:
            answer = await self._cluster.ask(node, request, "signals")
        except KafkaError:
            refused = list(batches)
        else:
            ((_, partitions),) = answer.topics
            refused = [partition for partition, code, *_ in partitions if code]
        for partition in refused:
            self._again(batches[partition])
        loop.call_at(began_s + GATHER_S, self._free, node)

    def _again(self, batch: list[_Waiting]) -> None:
        self._queued.extendleft(reversed(batch))
        self._queued_bytes += sum(len(each.record.value) for each in batch)
        self._look_again()

    def _built(self, batch: list[_Waiting]) -> bytes:
        """Return a batch of the newest records that fit into one, and drop the others."""
        while True:
            data, count = build((each.record for each in batch), *_NOT_NUMBERED)
            if count == len(batch):
                return data
            self._dropped += len(batch) - count
            del batch[: len(batch) - count]

    def _free(self, node: int) -> None:
        self._busy.discard(node)
        self._wake.set()

    @override
    async def listen(self, partition: int, since_s: float) -> AsyncGenerator[Sequence[Heard]]:
        """Like the port says. After a failure it goes back by `since_s` again: it does no harm to
        hear a signal twice.
        """
        stream = Stream(self._topic, partition)
        while not self._cluster.closed:
            try:
                since_ms = int((time.time() - since_s) * 1_000)
                offset = await self._readers.offset_at(stream, since_ms)
                async with aclosing(self._readers.read(stream, offset, GATHER_S)) as batches:
                    async for batch in batches:
                        yield [Heard(record.appended_at_ms, record.value) for record in batch]
            except (Trimmed, Unavailable):
                await asyncio.sleep(AGAIN_S)
        raise Unavailable("the topic of signals was closed")
