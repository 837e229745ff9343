"""A Kafka broker that goes away: for seconds, and for longer than is waited."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing

import pytest
import uvloop
from aiokafka.errors import KafkaConnectionError  # type: ignore[import-untyped]
from aiokafka.protocol.coordination import (  # type: ignore[import-untyped]
    FindCoordinatorRequest,
)

from cecochat.adapters.kafka.backplane import KafkaBackplane
from cecochat.adapters.kafka.cluster import Cluster
from cecochat.adapters.kafka.settings import KafkaSettings
from cecochat.domain.errors import ProducerEnded, Unavailable
from cecochat.ports.backplane import MESSAGES, Backplane, NewRecord, Producer, Record
from scripts.backends import kafka as kafka_kind
from tests.contract.openers import Place
from tests.contract.private import private
from tests.support.backends import Backends
from tests.support.backplane import append, new, read, values

DEADLINE_S = 120


class Burst:
    """A session that appends all the time; what was acknowledged, and how it ended."""

    def __init__(self, session: int, producer: Producer) -> None:
        self.session = session
        self.producer = producer
        self.acknowledged: list[int] = []
        self.ended: ProducerEnded | None = None
        self.moved = asyncio.Condition()

    async def run(self, count: int) -> None:
        try:
            for number in range(count):
                key = b"%d" % self.session
                record = NewRecord(self.session % 2, key, b"%d" % number, ())
                await self.producer.append([record])
                async with self.moved:
                    self.acknowledged.append(number)
                    self.moved.notify_all()
        except ProducerEnded as ended:
            self.ended = ended

    async def until(self, count: int) -> None:
        async with self.moved:
            await self.moved.wait_for(lambda: len(self.acknowledged) >= count)


async def follow(log: Backplane, count: int) -> list[Record]:
    """The first records of partition 0, however long they take."""
    found: list[Record] = []
    async with aclosing(log.read(MESSAGES, 0, 0)) as batches:
        while len(found) < count:
            found += await anext(batches)
    return found


async def landed(log: Backplane, session: int) -> list[int]:
    partition = session % 2
    start, end = await log.bounds(MESSAGES, partition)
    records = await read(log, end - start, partition)
    return values([record for record in records if record.key == b"%d" % session])


@pytest.mark.timeout(420)
async def test_a_broker_killed_under_load_loses_and_repeats_nothing(
    place: Place, stack: AsyncExitStack
) -> None:
    broker = await stack.enter_async_context(
        private(kafka_kind.KIND, place.folder / "kafka", place.backends)
    )
    log = await KafkaBackplane.open(KafkaSettings(broker.address, partition_count=2, outage_s=600))
    stack.push_async_callback(log.close)
    bursts = [Burst(number, await log.producer()) for number in range(6)]
    async with asyncio.timeout(DEADLINE_S * 3), asyncio.TaskGroup() as tasks:
        follower = tasks.create_task(follow(log, 1_800))
        for burst in bursts:
            tasks.create_task(burst.run(600))
        await asyncio.gather(*(burst.until(100) for burst in bursts))
        await broker.kill()
        await broker.start()
    assert [burst.ended for burst in bursts] == [None] * len(bursts), "it was away for seconds"
    for burst in bursts:
        assert await landed(log, burst.session) == burst.acknowledged == list(range(600))
    assert follower.result() == await read(log, 1_800, partition=0)


@pytest.mark.timeout(420)
async def test_an_outage_that_lasts_ends_sessions_and_readers_and_nothing_lands_behind_the_hole(
    place: Place, stack: AsyncExitStack
) -> None:
    broker = await stack.enter_async_context(
        private(kafka_kind.KIND, place.folder / "kafka", place.backends)
    )
    settings = KafkaSettings(broker.address, partition_count=2, outage_s=3, timeout_s=2)
    log = await KafkaBackplane.open(settings)
    stack.push_async_callback(log.close)
    bursts = [Burst(number, await log.producer()) for number in range(4)]
    async with asyncio.timeout(DEADLINE_S * 3), asyncio.TaskGroup() as tasks:
        runs = [tasks.create_task(burst.run(1_000_000)) for burst in bursts]
        await asyncio.gather(*(burst.until(50) for burst in bursts))
        await broker.kill()
        await asyncio.wait(runs)
        with pytest.raises(Unavailable):
            await read(log, 1_000_000)
        with pytest.raises(Unavailable):
            await log.bounds(MESSAGES, 0)
        await broker.start()
        await append(log, [new(1)])
    for burst in bursts:
        assert burst.ended is not None
        found = await landed(log, burst.session)
        assert found == list(range(len(found)))
        assert len(burst.acknowledged) <= len(found) <= len(burst.acknowledged) + 1


def test_a_connection_that_was_just_closed_is_no_more_than_an_outage(backends: Backends) -> None:
    """Under uvloop, which raises where asyncio warns."""
    chosen = KafkaSettings(backends.address("kafka"))

    async def main() -> None:
        cluster = Cluster(chosen)
        await cluster.connect()
        node, request = cluster.any_broker(), FindCoordinatorRequest("a group", 0)
        await cluster.ask(node, request)
        connection = cluster._client._conns[node, "questions"]
        connection._reader.feed_data(b"x")  # of an answer that does not come to its end
        await asyncio.sleep(0)
        connection._writer.transport.abort()
        await asyncio.sleep(0)
        with pytest.raises(KafkaConnectionError):
            await cluster.ask(node, request)
        await cluster.patiently("a coordinator", lambda: cluster.ask(node, request))
        await cluster.close()

    uvloop.run(main())
