"""What is special to Kafka: topics that others may have made, and several servers on one log."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import TopicPartition  # type: ignore[import-untyped]
from aiokafka.admin import NewTopic, RecordsToDelete  # type: ignore[import-untyped]
from aiokafka.protocol.produce import ProduceRequest  # type: ignore[import-untyped]
from aiokafka.record.util import calc_crc32c  # type: ignore[import-untyped]

from cecochat.adapters.kafka.backplane import KafkaBackplane
from cecochat.adapters.kafka.batches import ProducerId, build
from cecochat.adapters.kafka.cluster import Stream
from cecochat.adapters.kafka.settings import KafkaSettings
from cecochat.adapters.kafka.topics import RECORD_BYTES_MAX, name_of, names_of
from cecochat.domain.errors import InvalidSettings, ProducerEnded, Trimmed, Unavailable, Undecodable
from cecochat.domain.log.place import Place as LogPlace
from cecochat.ports.backplane import MESSAGES, NewRecord, Producer, Record
from cecochat.ports.reading import decode_once
from tests.contract.openers import PARTITIONS, Place
from tests.contract.openers import kafka as opener
from tests.support.backplane import GIVEN_UP, NOW_MS, Workers, append, new, read, values

Open = Callable[..., Awaitable[KafkaBackplane]]


@pytest.fixture
async def settings(place: Place) -> AsyncGenerator[KafkaSettings]:
    """Of an empty namespace on the shared broker."""
    found = opener.settings(place)
    yield found
    await opener.remove(found)


@pytest.fixture
async def open_server(settings: KafkaSettings, stack: AsyncExitStack) -> Open:
    """Opens the log once more, as another server would."""

    async def opened(**changes: Any) -> KafkaBackplane:
        log = await KafkaBackplane.open(replace(settings, **changes))
        stack.push_async_callback(log.close)
        return log

    return opened


# -- topics


async def test_servers_that_open_at_once_have_one_log(open_server: Open) -> None:
    logs = await asyncio.gather(*(open_server() for _ in range(4)))
    assert len({await log.log_id() for log in logs}) == 1
    await append(logs[0], [new(1)])
    assert values(await read(logs[3], 1)) == [1]


async def test_a_count_that_is_not_the_topics_is_refused(open_server: Open) -> None:
    await open_server()
    with pytest.raises(InvalidSettings, match=f"has {PARTITIONS} partitions, .* ask for 5"):
        await open_server(partition_count=5)
    assert await (await open_server(partition_count=None)).partition_count() == PARTITIONS


async def test_a_topic_that_could_lose_or_misplace_records_is_refused_and_left_as_it_is(
    settings: KafkaSettings, open_server: Open
) -> None:
    made = {"retention.ms": "1000", "message.timestamp.type": "CreateTime"}
    async with opener.admin(settings) as client:
        await client.create_topics(
            [NewTopic(names_of(settings)[0], PARTITIONS, 1, topic_configs=made)]
        )
    for _ in range(2):
        with pytest.raises(InvalidSettings, match=r"kafka-configs\.sh .*--add-config") as refusal:
            await open_server()
        for name in ("retention.ms is 1000", "message.timestamp.type=LogAppendTime"):
            assert name in str(refusal.value)
        assert "cleanup.policy" not in str(refusal.value)


async def test_a_log_that_was_made_again_has_another_id(
    settings: KafkaSettings, open_server: Open
) -> None:
    first = await open_server()
    log_id = await first.log_id()
    assert await (await open_server()).log_id() == log_id
    await first.close()
    await opener.remove(settings)
    second = await open_server()
    assert await second.log_id() != log_id


# -- appends


async def test_sessions_of_several_servers_interleave_without_loss(open_server: Open) -> None:
    servers = [await open_server(), await open_server()]
    sessions = [await server.producer() for server in servers for _ in range(6)]

    async def appends(session: int, producer: Producer) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(100):
                record = NewRecord(0, b"%d" % session, b"%d" % number, ())
                tasks.create_task(producer.append([record]))

    async with asyncio.TaskGroup() as tasks:
        for number, producer in enumerate(sessions):
            tasks.create_task(appends(number, producer))
    records = await read(servers[0], 1_200)
    for session in range(12):
        own = [record for record in records if record.key == b"%d" % session]
        assert values(own) == list(range(100))


async def test_a_record_that_is_too_large_ends_the_session_and_does_not_land(
    open_server: Open,
) -> None:
    log = await open_server()
    producer = await log.producer()
    await producer.append([new(1)])
    with pytest.raises(ProducerEnded, match="4194304 are allowed"):
        await producer.append([NewRecord(0, b"k", bytes(RECORD_BYTES_MAX), ())])
    with pytest.raises(ProducerEnded):
        await producer.append([new(2)])
    await append(log, [new(3), NewRecord(0, b"k", bytes(RECORD_BYTES_MAX - 1_000), ())])
    records = await read(log, 3)
    assert values(records[:2]) == [1, 3]
    assert len(records[2].value) == RECORD_BYTES_MAX - 1_000


# -- reading


async def test_a_reader_below_what_retention_left_is_told_where_the_log_starts(
    settings: KafkaSettings, open_server: Open
) -> None:
    log = await open_server()
    await append(log, [new(number) for number in range(10)])
    dropped = {TopicPartition(names_of(settings)[0], 0): RecordsToDelete(before_offset=6)}
    async with opener.admin(settings) as client:
        await client.delete_records(dropped)
    assert await log.bounds(MESSAGES, 0) == (6, 10)
    with pytest.raises(Trimmed) as trimmed:
        await read(log, 1, offset=5)
    assert trimmed.value.start == 6
    assert values(await read(log, 4, offset=6)) == [6, 7, 8, 9]


async def test_a_reader_beyond_the_end_is_told_so_and_not_moved(open_server: Open) -> None:
    log = await open_server()
    await append(log, [new(1)])
    with pytest.raises(Unavailable, match=r"offset 2 of .* lies beyond the end, 1"):
        await read(log, 1, offset=2)


async def test_readers_of_another_server_follow(open_server: Open) -> None:
    """Also those that come to the end together with others, and leave again."""
    writer, reader = await open_server(), await open_server()
    producer = await writer.producer()
    async with aclosing(reader.read(MESSAGES, 0, 0)) as batches:
        for number in range(20):
            await producer.append([new(number)])
            (record,) = await anext(batches)
            assert values([record]) == [number]
            assert values(await read(reader, number + 1)) == list(range(number + 1))


async def test_a_record_that_nobody_can_read_is_one_that_says_so(
    settings: KafkaSettings, open_server: Open
) -> None:
    """Its header has a name that is no UTF-8, which the broker takes and no library gives out."""
    log = await open_server()
    producer = await log.producer()
    async with aclosing(log.read(MESSAGES, 0, 0)) as live:
        await producer.append([new(0)])
        assert values(await anext(live)) == [0]
        await produce(log, Stream(name_of(settings, MESSAGES), 0), unreadable())
        await producer.append([new(1)])
        found = [*await anext(live)]
        while len(found) < 2:
            found += await anext(live)
    assert [record.offset for record in found] == [1, 2]
    assert isinstance(decode_once(found[0]), Undecodable)
    assert "can't decode" in dict(found[0].headers)["unreadable"]
    assert found == (await read(log, 3))[1:], "a reader from the middle is shown another"


def unreadable() -> bytes:
    data, _ = build([NewRecord(0, b"k", b"v", (("zz", "b"),))], ProducerId(-1, -1), -1)
    spoilt = bytearray(data.replace(b"\x04zz", b"\x04\xff\xfe"))
    spoilt[17:21] = struct.pack(">I", calc_crc32c(bytes(spoilt[21:])))
    return bytes(spoilt)


async def produce(log: KafkaBackplane, stream: Stream, batch: bytes) -> None:
    cluster = log._cluster
    request = ProduceRequest(None, -1, 5_000, [(stream.topic, [(stream.partition, batch)])])
    answer = await cluster.ask(cluster.leader(stream), request)
    ((_, ((_, code, *_),)),) = answer.topics
    assert code == 0


async def test_readers_that_are_in_no_hurry_are_polled_for_less_often(
    open_server: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = await open_server()
    ask, polls = log._cluster.ask, list[object]()

    async def counted(node: int, request: object, lane: str = "questions") -> object:
        if lane == "poll":
            polls.append(request)
        return await ask(node, request, lane)

    monkeypatch.setattr(log._cluster, "ask", counted)
    producer = await log.producer()

    async def polls_for_20(*readers: AsyncGenerator[Sequence[Record]]) -> tuple[int, float]:
        """How many, while all of them are at the end and get 20 records, and in how many s."""
        async with asyncio.TaskGroup() as tasks:
            for reader in readers:
                tasks.create_task(first(reader, 21))
            await producer.append([new(0)])
            await asyncio.sleep(1)
            polls.clear()
            begun_s = time.monotonic()
            for number in range(20):
                await producer.append([new(number)])
                await asyncio.sleep(0.01)
        return len(polls), time.monotonic() - begun_s

    start = (await log.bounds(MESSAGES, 0))[1]
    patient, took_s = await polls_for_20(log.read(MESSAGES, 0, start, gather_s=0.3))
    start = (await log.bounds(MESSAGES, 0))[1]
    hurried, _ = await polls_for_20(
        log.read(MESSAGES, 0, start, gather_s=0.3), log.read(MESSAGES, 0, start)
    )
    assert patient <= took_s / 0.3 + 2
    assert patient < hurried


async def first(reader: AsyncGenerator[Sequence[Record]], count: int) -> None:
    async with aclosing(reader) as batches:
        while count > 0:
            count -= len(await anext(batches))


# -- groups


async def test_servers_commit_partitions_of_one_group(open_server: Open) -> None:
    one, two = await open_server(), await open_server()
    places = [LogPlace(NOW_MS + each, 5 + each) for each in range(3)]
    await asyncio.gather(
        one.commit("forward", MESSAGES, {0: places[0], 1: places[1]}),
        two.commit("forward", MESSAGES, {2: places[2]}),
    )
    for server in (one, two):
        found = [await server.committed("forward", MESSAGES, each) for each in range(4)]
        assert found == [*places, None]


async def test_members_of_several_servers_share(open_server: Open) -> None:
    one, two = await open_server(), await open_server()
    workers = Workers()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(workers.member(one, "one"))
        await workers.until(PARTITIONS)
        second = tasks.create_task(workers.member(two, "two"))
        await workers.until(PARTITIONS // 2, PARTITIONS // 2)
        # both have committed for what they gave up; anybody may ask, and nobody else may commit
        assert await one.committed("g", MESSAGES, 0) == GIVEN_UP
        with pytest.raises(Unavailable, match="UnknownMemberId"):
            await (await open_server()).commit("g", MESSAGES, {0: LogPlace(NOW_MS, 9)})
        first.cancel()
        await workers.until(PARTITIONS)
        second.cancel()


async def test_a_member_that_is_not_heard_of_any_more_is_replaced(open_server: Open) -> None:
    """A static member leaves without a word, as a server that is restarted does."""
    one, two = await open_server(instance="one"), await open_server(instance="two")
    workers = Workers()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(workers.member(one, "one"))
        second = tasks.create_task(workers.member(two, "two"))
        await workers.until(PARTITIONS // 2, PARTITIONS // 2)
        first.cancel()
        await workers.until(PARTITIONS)
        second.cancel()
