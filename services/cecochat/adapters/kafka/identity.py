"""The number of partitions that a log was created with, kept in a topic of its own.

Partitions can be added to a topic but never removed, and after that users would be on other
partitions than their records. So the number is written once. If there are several records about
one log, all servers take the first.
"""

from __future__ import annotations

from typing import Final

from aiokafka.protocol.produce import ProduceRequest  # type: ignore[import-untyped]

from cecochat.adapters.kafka.batches import Fetched, ProducerId, build
from cecochat.adapters.kafka.cluster import Cluster, Stream, check
from cecochat.adapters.kafka.protocol import Fetch
from cecochat.adapters.kafka.settings import KafkaSettings
from cecochat.domain.errors import Unavailable
from cecochat.ports.backplane import NewRecord, Record

FETCH_BYTES: Final = 64 << 10
_KEY: Final = b"partition_count"
_LOG_ID: Final = "log_id"
_ALL_IN_SYNC: Final = -1
_NOBODY: Final = ProducerId(-1, -1)


class PartitionCountTopic:
    """A topic with one partition. Each of its records names the log that it is about."""

    def __init__(self, cluster: Cluster, settings: KafkaSettings, topic: str, log_id: str) -> None:
        self._cluster = cluster
        self._timeout_ms = int(settings.timeout_s * 1_000)
        self._stream = Stream(topic, 0)
        self._log_id = log_id

    async def partition_count(self, current: int) -> int:
        """Return the number of partitions that the log was created with. If it is not written yet,
        this writes and returns `current`. Raises `Unavailable`.
        """
        written = await self._cluster.patiently(self._stream.topic, self._read)
        if written is None:
            await self._cluster.patiently(self._stream.topic, lambda: self._write(current))
            written = await self._cluster.patiently(self._stream.topic, self._read)
        if written is None:
            raise Unavailable(f"{self._stream.topic} does not show what was just written to it")
        return written

    async def _read(self) -> int | None:
        offset = 0
        while records := await self._fetch(offset):
            for record in records:
                if record.key == _KEY and dict(record.headers).get(_LOG_ID) == self._log_id:
                    return int(record.value)
            offset = records[-1].offset + 1
        return None

    async def _fetch(self, offset: int) -> list[Record]:
        """Return the records from `offset` on, or none at the end."""
        topic, partition = self._stream
        request = Fetch({topic: [(partition, offset)]}, max_bytes=FETCH_BYTES)
        answer = await self._cluster.ask(self._cluster.leader(self._stream), request)
        check(answer.error_code)
        ((_, ((_, code, _, _, _, _, _, data),)),) = answer.topics
        check(code)
        return Fetched(data, offset).take()

    async def _write(self, count: int) -> None:
        """Write the number. If nobody knows whether it has landed, it does no harm to write it
        again.
        """
        record = NewRecord(0, _KEY, b"%d" % count, ((_LOG_ID, self._log_id),))
        data, _ = build([record], _NOBODY, -1)
        topic, partition = self._stream
        request = ProduceRequest(
            None, _ALL_IN_SYNC, self._timeout_ms, [(topic, [(partition, data)])]
        )
        answer = await self._cluster.ask(self._cluster.leader(self._stream), request)
        ((_, ((_, code, *_),)),) = answer.topics
        check(code)
