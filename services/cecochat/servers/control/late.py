"""Looks for records of the log that wait too long to be materialized, forwarded or dropped. What is
not materialized and forwarded cannot be dropped, so disks fill.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from prometheus_client import CollectorRegistry, Gauge

from cecochat.domain.cluster.balance import ranges
from cecochat.domain.errors import Unavailable
from cecochat.ports.backplane import FORWARD_GROUP, MATERIALIZE_GROUP, MESSAGES, Backplane

log = logging.getLogger(__name__)

LATE_MS: Final = 600_000
DROP_SLACK_MS: Final = 2 * 3_600_000
"""How much later than the retention a record may be dropped: a partition is released up to a state
record, and a quiet partition gets one only once an hour.
"""
LOOKS: Final = 10  # how often to look in the time after which a record is late
GROUPS: Final = (MATERIALIZE_GROUP, FORWARD_GROUP)
DROP: Final = "drop"


def late_records(registry: CollectorRegistry) -> Gauge:
    """Return the metric, which the leading control server sets. It is 0 at the others."""
    return Gauge(
        "cecochat_log_late_records",
        "Records of the log that wait too long, by task: to be materialized or forwarded for ten "
        "minutes (a quarter of the retention where that is less), to be dropped for a quarter of "
        "the retention after it is over.",
        ["task"],
        registry=registry,
    )


class LateRecords:
    """Looks for late records while `leads()` is true; `run` runs until it is cancelled."""

    def __init__(
        self,
        backplane: Backplane,
        partitions: int,
        retention_ms: int,
        metric: Gauge,
        leads: Callable[[], bool],
    ) -> None:
        self.seen: dict[str, dict[int, int]] = {}
        """Task -> partition -> how many records wait too long. There are no entries for 0."""
        self._backplane = backplane
        self._partitions = partitions
        self._late_ms = min(LATE_MS, retention_ms // 4)
        self._drop_late_ms = retention_ms + max(retention_ms // 4, DROP_SLACK_MS)
        self._metric = metric
        self._leads = leads
        self._set({})

    async def run(self) -> None:
        """Look from time to time. While the log does not answer, what was seen last stays."""
        while True:
            try:
                self._set(await self._look() if self._leads() else {})
            except Unavailable as error:
                log.warning("late records cannot be counted now: %s", error)
            await asyncio.sleep(self._late_ms / 1_000 / LOOKS)

    def shown(self) -> dict[str, Any]:
        """Return what was seen last, for people, as an object for JSON."""
        return {
            task: {"records": sum(found.values()), "partitions": ranges(found)}
            for task, found in self.seen.items()
        }

    def _set(self, seen: dict[str, dict[int, int]]) -> None:
        self.seen = {task: found for task, found in seen.items() if found}
        for task in (*GROUPS, DROP):
            self._metric.labels(task).set(sum(seen.get(task, {}).values()))

    async def _look(self) -> dict[str, dict[int, int]]:
        seen: dict[str, dict[int, int]] = {task: {} for task in (*GROUPS, DROP)}
        now_ms = int(time.time() * 1_000)
        for partition in range(self._partitions):
            for task, records in (await self._late_of(partition, now_ms)).items():
                if records > 0:
                    seen[task][partition] = records
        return seen

    async def _late_of(self, partition: int, now_ms: int) -> dict[str, int]:
        start, end = await self._backplane.bounds(MESSAGES, partition)
        if start == end:
            return {}
        late = await self._older_than(partition, now_ms - self._late_ms)
        found = {DROP: await self._older_than(partition, now_ms - self._drop_late_ms) - start}
        for group in GROUPS:
            place = await self._backplane.committed(group, MESSAGES, partition)
            found[group] = late - max(start, place.offset if place else 0)
        return found

    async def _older_than(self, partition: int, at_ms: int) -> int:
        return await self._backplane.offset_at(MESSAGES, partition, at_ms)
