"""The partition count that a log was made with, in a topic of its own.

Partitions can be added to a topic and never taken away, and then a user's records are looked for
where they are not. So the count is written down once; of several records about one log the first
counts, which all servers agree on.
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


class Identity:
    """One topic, of one partition; the log that it speaks of is named in each record."""

    def __init__(self, cluster: Cluster, settings: KafkaSettings, topic: str, log_id: str) -> None:
        self._cluster = cluster
        self._timeout_ms = int(settings.timeout_s * 1_000)
        self._stream = Stream(topic, 0)
        self._log_id = log_id

    async def partition_count(self, as_it_is: int) -> int:
        """What the log was made with; of a log that nobody has written down, `as_it_is`, which is
        written down. Raises `Unavailable`.
        """
        known = await self._cluster.patiently(self._stream.topic, self._known)
        if known is None:
            await self._cluster.patiently(self._stream.topic, lambda: self._write(as_it_is))
            known = await self._cluster.patiently(self._stream.topic, self._known)
        if known is None:
            raise Unavailable(f"{self._stream.topic} does not show what was written to it")
        return known

    async def _known(self) -> int | None:
        offset = 0
        while records := await self._fetch(offset):
            for record in records:
                if record.key == _KEY and dict(record.headers).get(_LOG_ID) == self._log_id:
                    return int(record.value)
            offset = records[-1].offset + 1
        return None

    async def _fetch(self, offset: int) -> list[Record]:
        """Empty at the end."""
        topic, partition = self._stream
        request = Fetch({topic: [(partition, offset)]}, max_bytes=FETCH_BYTES)
        answer = await self._cluster.ask(self._cluster.leader(self._stream), request)
        check(answer.error_code)
        ((_, ((_, code, _, _, _, _, _, data),)),) = answer.topics
        check(code)
        return Fetched(data, offset).take()

    async def _write(self, count: int) -> None:
        """Again where nobody knows whether it has landed: twice says the same as once."""
        record = NewRecord(0, _KEY, b"%d" % count, ((_LOG_ID, self._log_id),))
        data, _ = build([record], _NOBODY, -1)
        topic, partition = self._stream
        request = ProduceRequest(
            None, _ALL_IN_SYNC, self._timeout_ms, [(topic, [(partition, data)])]
        )
        answer = await self._cluster.ask(self._cluster.leader(self._stream), request)
        ((_, ((_, code, *_),)),) = answer.topics
        check(code)
