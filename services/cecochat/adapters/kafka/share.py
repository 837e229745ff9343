"""A member of a consumer group, which works on the partitions that the group gives it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition  # type: ignore[import-untyped]
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]
from aiokafka.structs import OffsetAndMetadata  # type: ignore[import-untyped]
from typing_extensions import override

from cecochat.adapters.kafka.settings import KafkaSettings
from cecochat.domain.errors import Unavailable
from cecochat.domain.log.place import Place

log = logging.getLogger(__name__)

Work = Callable[[int], Coroutine[Any, Any, None]]

SESSION_MS: Final = 10_000
"""If a member sends no heartbeat for this long it is dead, and its partitions go to others."""
HEARTBEAT_MS: Final = 1_000
REBALANCE_MS: Final = 30_000
"""How long the group waits for a member to finish its work."""
JOIN_MS: Final = REBALANCE_MS + 10_000
POLL_MS: Final = 1_000
AGAIN_S: Final = 1.0


class Member(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is not typed
    """Runs `work` for each partition that it is assigned. Its consumer is only there for the
    membership: all partitions are paused, and the work reads by itself.
    """

    def __init__(
        self,
        topic: str,
        group: str,
        work: Work,
        settings: KafkaSettings,
        instance: str | None,
        partitions: int,
    ) -> None:
        self._topic = topic
        self._partitions = partitions
        self._group = group
        self._work = work
        self._settings = settings
        self._instance = instance
        self._consumer: AIOKafkaConsumer | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._working: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Be a member until cancelled, or until `work` raises: then this raises the same."""
        while True:
            try:
                await self._belong()
            except KafkaError as error:
                log.warning("the group %s is joined again, since it failed: %s", self._group, error)
            await asyncio.sleep(AGAIN_S)

    def works_on(self, partition: int) -> bool:
        """Return whether the work on a partition has not ended yet."""
        return partition in self._working

    async def commit(self, places: dict[int, Place]) -> None:
        """Commit places by partition, of partitions that it works on. Raises `Unavailable`."""
        assert self._consumer
        offsets = {
            TopicPartition(self._topic, p): OffsetAndMetadata(place.offset, str(place.clock_ms))
            for p, place in places.items()
        }
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await self._consumer.commit(offsets)
        except (KafkaError, TimeoutError, RuntimeError) as error:  # see `Cluster.ask`
            raise Unavailable(
                f"the group {self._group} did not take the commit: {error!r}"
            ) from error

    async def _belong(self) -> None:
        self._consumer = consumer = self._new_consumer()
        try:
            async with asyncio.TaskGroup() as self._tasks:
                await consumer.start()
                while True:  # a member that does not poll counts as dead
                    await consumer.getmany(timeout_ms=POLL_MS)
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            self._working.clear()
            await self._stop(consumer)

    def _new_consumer(self) -> AIOKafkaConsumer:
        # aiokafka's assignor keeps the state of its member in the class, so each needs a class
        assignor = type("Sticky", (StickyPartitionAssignor,), {})
        consumer = AIOKafkaConsumer(
            **self._settings.connection() | {"request_timeout_ms": JOIN_MS},
            group_id=self._group,
            group_instance_id=self._instance,
            partition_assignment_strategy=(assignor,),
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            rebalance_timeout_ms=REBALANCE_MS,
            enable_auto_commit=False,
            auto_offset_reset="latest",  # does not matter, since it is paused
            fetch_max_bytes=1,
            max_partition_fetch_bytes=1,
        )
        consumer.subscribe([self._topic], listener=self)
        return consumer

    async def _stop(self, consumer: AIOKafkaConsumer) -> None:
        """Leave the group. Brokers that do not answer notice later by the missing heartbeat."""
        try:
            async with asyncio.timeout(SESSION_MS / 1_000):
                await consumer.stop()
        except TimeoutError:
            log.warning(
                "the group %s was left without telling it, since the brokers do not answer",
                self._group,
            )

    @override
    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        assert self._consumer
        self._consumer.pause(*assigned)
        for _, partition in assigned:
            if partition < self._partitions:
                self._start(partition)
            else:
                log.error(
                    "the group %s assigns partition %s, which this log does not have",
                    self._group,
                    partition,
                )

    def _start(self, partition: int) -> None:
        assert self._tasks
        work = self._work(partition)
        try:
            self._working[partition] = self._tasks.create_task(work)
        except RuntimeError:  # this member is about to leave
            work.close()

    @override
    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Cancel all work and wait for it. Until this returns, the group waits and takes commits
        from this member.
        """
        tasks = list(self._working.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._working.clear()
