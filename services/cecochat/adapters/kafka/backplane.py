"""The backplane on Kafka."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from contextlib import suppress
from itertools import count
from typing import Any, Final
from weakref import WeakSet

from aiokafka.protocol.transaction import InitProducerIdRequest  # type: ignore[import-untyped]
from typing_extensions import override

from cecochat.adapters.kafka.batches import ProducerId
from cecochat.adapters.kafka.cluster import Cluster, Stream, check
from cecochat.adapters.kafka.groups import Offsets, Stored
from cecochat.adapters.kafka.producing import Session
from cecochat.adapters.kafka.reading import Readers
from cecochat.adapters.kafka.sending import Sender
from cecochat.adapters.kafka.settings import KafkaSettings
from cecochat.adapters.kafka.share import Member
from cecochat.adapters.kafka.topics import Log, name_of, open_log
from cecochat.adapters.kafka.trimming import Clock, Trimmer
from cecochat.domain.log.place import Place
from cecochat.ports.backplane import MESSAGES, Backplane, Producer, Record, Topic

LANES: Final = 2
"""How many senders there are. Each has a connection to each broker."""

_NO_TRANSACTIONS: Final = (None, 60_000)


class KafkaBackplane(Backplane):
    """A log in two topics, which any number of processes may have open."""

    def __init__(
        self, settings: KafkaSettings, cluster: Cluster, log: Log, clock: Clock = time.time
    ) -> None:
        """Use `open` instead."""
        self._settings = settings
        self._cluster = cluster
        self._log = log
        self._senders = [Sender(cluster, settings, f"append {n}") for n in range(LANES)]
        self._numbers = count()
        self._sessions: WeakSet[Session] = WeakSet()
        self._readers = Readers(cluster, settings)
        self._trimmer = Trimmer(
            cluster,
            self._readers,
            retention_ms=settings.retention_ms,
            timeout_s=settings.timeout_s,
        )
        self._clock = clock
        self._offsets = Offsets(cluster)
        self._members: dict[str, list[Member]] = {}
        self._background = asyncio.create_task(self._run())
        self._closed = False

    @classmethod
    async def open(cls, settings: KafkaSettings, *, clock: Clock = time.time) -> KafkaBackplane:
        """Open the log, or create it. Several servers may do so at once.

        Raises `InvalidSettings` if the topics are not as the settings say or not safe for a log,
        and `Unavailable`.
        """
        settings.check()
        cluster = Cluster(settings)
        try:
            await cluster.connect()
            return cls(settings, cluster, await open_log(cluster, settings), clock)
        except BaseException:
            await cluster.close()
            raise

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for sender in self._senders:
                    tasks.create_task(sender.run())
                tasks.create_task(self._readers.run())
        except* Exception:
            self._end()
            raise

    async def running(self) -> None:
        """Wait until the log is closed. If a defect in a background task has closed it, this raises
        that task's error.
        """
        await asyncio.wait([self._background])
        if not self._background.cancelled():
            self._background.result()

    def _end(self) -> None:
        """End all readers and producer sessions."""
        self._cluster.closed = True
        self._readers.close()
        for session in self._sessions:
            session.abandon("the log was closed")

    @override
    async def log_id(self) -> str:
        return self._log.log_id

    @override
    async def partition_count(self) -> int:
        return self._log.partition_count

    @override
    async def producer(self, topic: Topic = MESSAGES) -> Producer:
        """Like the port says. Raises `Unavailable`."""
        producer_id = await self._cluster.patiently("a new producer", self._producer_id)
        sender = self._senders[next(self._numbers) % LANES]
        name = name_of(self._settings, topic)
        session = Session(sender, name, self._log.partition_count, producer_id)
        self._sessions.add(session)
        return session

    async def _producer_id(self) -> ProducerId:
        request = InitProducerIdRequest(*_NO_TRANSACTIONS)
        answer = await self._cluster.ask(self._cluster.any_broker(), request)
        check(answer.error_code)
        return ProducerId(answer.producer_id, answer.producer_epoch)

    @override
    def read(
        self, topic: Topic, partition: int, offset: int, *, gather_s: float = 0.0
    ) -> AsyncGenerator[Sequence[Record]]:
        return self._readers.read(self._stream(topic, partition), offset, gather_s)

    @override
    async def bounds(self, topic: Topic, partition: int) -> tuple[int, int]:
        return await self._readers.bounds(self._stream(topic, partition))

    @override
    async def committed(self, group: str, topic: Topic, partition: int) -> Place | None:
        return await self._offsets.committed(
            Stored(self._group(group), *self._stream(topic, partition))
        )

    @override
    async def commit(self, group: str, topic: Topic, places: dict[int, Place]) -> None:
        """Like the port says. Partitions that a member of this process works on are committed by
        that member: a group that has members takes no other commits.
        """
        name = self._group(group)
        rest = {self._stream(topic, p).partition: place for p, place in places.items()}
        for member in self._members.get(name, ()):
            own = {p: place for p, place in rest.items() if member.works_on(p)}
            if own:
                await member.commit(own)
                rest = {p: place for p, place in rest.items() if p not in own}
        if rest:
            await self._offsets.commit(name, name_of(self._settings, topic), rest)

    @override
    async def share(
        self, topic: Topic, group: str, work: Callable[[int], Coroutine[Any, Any, None]]
    ) -> None:
        name = self._group(group)
        members = self._members.setdefault(name, [])
        instance = self._settings.instance
        if instance is not None and members:
            instance = f"{instance}-{len(members)}"
        member = Member(
            name_of(self._settings, topic),
            name,
            work,
            self._settings,
            instance,
            self._log.partition_count,
        )
        members.append(member)
        try:
            await member.run()
        finally:
            members.remove(member)

    @override
    async def release(self, topic: Topic, partition: int, before: int) -> None:
        self._trimmer.release(self._stream(topic, partition), before)

    @override
    async def trim(self) -> None:
        """Like the port says, for what this process has released."""
        await self._trimmer.trim(self._clock())

    @override
    async def offset_at(self, topic: Topic, partition: int, at_ms: int) -> int:
        return await self._readers.offset_at(self._stream(topic, partition), at_ms)

    @override
    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            with suppress(TimeoutError):
                async with asyncio.timeout(self._settings.timeout_s):
                    for session in list(self._sessions):
                        await session.close()
            self._end()
            self._background.cancel()
            await asyncio.wait([self._background])
            await self._cluster.close()

    def _group(self, group: str) -> str:
        return f"{self._settings.namespace}.{group}"

    def _stream(self, topic: Topic, partition: int) -> Stream:
        if not 0 <= partition < self._log.partition_count:
            raise ValueError(
                f"there is no partition {partition}: use 0 to {self._log.partition_count - 1}"
            )
        return Stream(name_of(self._settings, topic), partition)
