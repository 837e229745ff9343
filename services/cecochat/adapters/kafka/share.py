"""A member of a consumer group: told which partitions are its own, it works on these."""

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
"""A member that is not heard of for so long is dead; its partitions go to others."""
HEARTBEAT_MS: Final = 1_000
REBALANCE_MS: Final = 30_000
"""How long the group waits for a member to finish what it was working on."""
JOIN_MS: Final = REBALANCE_MS + 10_000
POLL_MS: Final = 1_000
AGAIN_S: Final = 1.0


class Member(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is not typed
    """Works on what it is assigned. Its consumer is there for the membership alone: everything is
    paused, and work reads by itself.
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
        """Be a member until cancelled or until work raises, which is raised."""
        while True:
            try:
                await self._belong()
            except KafkaError as error:
                log.warning("%s: joining again: %s", self._group, error)
            await asyncio.sleep(AGAIN_S)

    def works_on(self, partition: int) -> bool:
        """Whether its work has not ended yet."""
        return partition in self._working

    async def commit(self, places: dict[int, Place]) -> None:
        """Store partition -> place of partitions that it works on. Raises `Unavailable`."""
        assert self._consumer
        found = {
            TopicPartition(self._topic, p): OffsetAndMetadata(at.offset, str(at.clock_ms))
            for p, at in places.items()
        }
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await self._consumer.commit(found)
        except (KafkaError, TimeoutError) as error:
            raise Unavailable(f"{self._group} does not take the commit: {error!r}") from error

    async def _belong(self) -> None:
        self._consumer = consumer = self._new_consumer()
        try:
            async with asyncio.TaskGroup() as self._tasks:
                await consumer.start()
                while True:  # a member that does not poll is taken for dead
                    await consumer.getmany(timeout_ms=POLL_MS)
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            self._working.clear()
            await self._stop(consumer)

    def _new_consumer(self) -> AIOKafkaConsumer:
        # aiokafka's assignor keeps what its member has in the class: one class a member
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
            auto_offset_reset="latest",  # of no consequence: it is paused
            fetch_max_bytes=1,
            max_partition_fetch_bytes=1,
        )
        consumer.subscribe([self._topic], listener=self)
        return consumer

    async def _stop(self, consumer: AIOKafkaConsumer) -> None:
        """Leave the group. Brokers that do not answer find out by themselves."""
        try:
            async with asyncio.timeout(SESSION_MS / 1_000):
                await consumer.stop()
        except TimeoutError:
            log.warning("%s: left without saying so: the brokers do not answer", self._group)

    @override
    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        assert self._consumer
        self._consumer.pause(*assigned)
        for _, partition in assigned:
            if partition < self._partitions:
                self._start(partition)
            else:
                log.error("%s: partition %s is none of this log", self._group, partition)

    def _start(self, partition: int) -> None:
        assert self._tasks
        work = self._work(partition)
        try:
            self._working[partition] = self._tasks.create_task(work)
        except RuntimeError:  # it is about to leave
            work.close()

    @override
    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """The group waits, and takes commits from this member, until this returns."""
        tasks = list(self._working.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._working.clear()
