"""What ports/backplane.py promises, of every adapter."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

import pytest

from cecochat.domain.errors import ProducerEnded, Trimmed
from cecochat.domain.log.place import Place
from cecochat.ports.backplane import DEAD_LETTERS, MESSAGES, Backplane, NewRecord, Record
from tests.contract.conftest import OpenBackplane
from tests.contract.openers import PARTITIONS
from tests.support.backplane import (
    DEADLINE_S,
    NOW_MS,
    WEEK_MS,
    Later,
    Workers,
    append,
    new,
    read,
    values,
)


async def test_what_was_appended_is_read_back_in_order(backplane: Backplane) -> None:
    before_ms = int(time.time() * 1_000)
    await append(backplane, [new(number) for number in range(50)])
    records = await read(backplane, 50)
    assert values(records) == list(range(50))
    assert [(r.key, r.headers) for r in records] == [
        (new(n).key, new(n).headers) for n in range(50)
    ]
    offsets = [record.offset for record in records]
    assert offsets == sorted(set(offsets))
    times = [record.appended_at_ms for record in records]
    assert times == sorted(times)
    assert before_ms - 5_000 <= times[0] <= time.time() * 1_000 + 5_000


@pytest.mark.parametrize("headers", [(), (("traceparent", "00-a=b-01"), ("v", ""))])
async def test_keys_values_and_headers_are_bytes_for_bytes(
    backplane: Backplane, headers: tuple[tuple[str, str], ...]
) -> None:
    every_byte = bytes(range(256))
    await append(backplane, [NewRecord(1, every_byte, every_byte * 4, headers)])
    await append(backplane, [NewRecord(1, b"", b"", headers)])
    first, second = await read(backplane, 2, partition=1)
    assert (first.key, first.value, first.headers) == (every_byte, every_byte * 4, headers)
    assert (second.key, second.value, second.headers) == (b"", b"", headers)


async def test_appends_that_nobody_waited_for_keep_their_order(backplane: Backplane) -> None:
    producer = await backplane.producer()
    async with asyncio.TaskGroup() as tasks:
        for number in range(300):
            tasks.create_task(producer.append([new(number, number % PARTITIONS)]))
    for partition in range(PARTITIONS):
        records = await read(backplane, 300 // PARTITIONS, partition)
        assert values(records) == list(range(partition, 300, PARTITIONS))


async def test_a_cancelled_wait_takes_nothing_back(backplane: Backplane) -> None:
    producer = await backplane.producer()
    async with asyncio.TaskGroup() as tasks:
        appends = [tasks.create_task(producer.append([new(number)])) for number in range(40)]
        await asyncio.sleep(0)  # all of them have begun
        for task in appends[::2]:
            task.cancel()
    await producer.append([new(40)])
    assert values(await read(backplane, 41)) == list(range(41))


async def test_an_empty_append_is_fine(backplane: Backplane) -> None:
    await append(backplane, [])
    await append(backplane, [new(1)])
    assert values(await read(backplane, 1)) == [1]


async def test_topics_and_partitions_are_apart(backplane: Backplane) -> None:
    await append(backplane, [new(1, 0), new(2, 1)])
    await append(backplane, [new(3, 0)], DEAD_LETTERS)
    assert values(await read(backplane, 1, 0)) == [1]
    assert values(await read(backplane, 1, 1)) == [2]
    assert values(await read(backplane, 1, 0, topic=DEAD_LETTERS)) == [3]
    start, end = await backplane.bounds(MESSAGES, 2)
    assert start == end


async def test_a_failed_append_ends_the_session_and_no_other(backplane: Backplane) -> None:
    producer, other = await backplane.producer(), await backplane.producer()
    await producer.append([new(1)])
    given = [
        [new(2)],
        [NewRecord(PARTITIONS, b"", b"", ())],  # no such partition
        [new(3)],
    ]
    outcomes = await asyncio.gather(
        *(producer.append(records) for records in given),
        other.append([new(4)]),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], ProducerEnded)
    assert isinstance(outcomes[2], ProducerEnded), "nothing lands behind a hole"
    assert outcomes[3] is None
    with pytest.raises(ProducerEnded):
        await producer.append([new(5)])
    await producer.close()
    await other.append([new(6)])
    landed = [1, 4, 6] if outcomes[0] else [1, 2, 4, 6]
    assert values(await read(backplane, len(landed))) == landed


async def test_close_waits_for_what_is_queued_and_ends_the_session(backplane: Backplane) -> None:
    producer = await backplane.producer()
    async with asyncio.TaskGroup() as tasks:
        appends = [tasks.create_task(producer.append([new(number)])) for number in range(20)]
        await asyncio.sleep(0)
        await producer.close()
        start, end = await backplane.bounds(MESSAGES, 0)
        assert end - start >= 20
    assert all(task.done() for task in appends)
    await producer.close()
    with pytest.raises(ProducerEnded):
        await producer.append([new(20)])


async def test_reading_starts_anywhere_and_waits_at_the_end(backplane: Backplane) -> None:
    await append(backplane, [new(number) for number in range(10)])
    records = await read(backplane, 10)
    for position, record in enumerate(records):
        found = await read(backplane, 10 - position, offset=record.offset)
        assert found == records[position:]
    _, end = await backplane.bounds(MESSAGES, 0)
    async with aclosing(backplane.read(MESSAGES, 0, end)) as batches, asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(anext(batches))
        await append(backplane, [new(10, partition=1)])
        assert not waiting.done()
        await append(backplane, [new(11)])
        assert values(await waiting) == [11]


async def test_every_reader_sees_the_same(backplane: Backplane) -> None:
    """Those that wait at the end while it grows, those that lag, and those that come later."""

    async def slowly() -> list[Record]:
        found: list[Record] = []
        async with aclosing(backplane.read(MESSAGES, 0, 0)) as batches:
            async for batch in batches:
                found += batch
                if len(found) >= 2_000:
                    break
                await append(backplane, [new(0, partition=1)])  # some work between batches
        return found

    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
        live = [tasks.create_task(read(backplane, 2_000)) for _ in range(3)]
        lagging = tasks.create_task(slowly())
        producer = await backplane.producer()
        for number in range(0, 2_000, 20):
            await producer.append([new(number + each) for each in range(20)])
    later = await read(backplane, 2_000)
    assert values(later) == list(range(2_000))
    assert all(task.result() == later for task in (*live, lagging))


async def test_batches_are_bounded(backplane: Backplane) -> None:
    large = NewRecord(0, b"k", bytes(400_000), ())
    await append(backplane, [large] * 5 + [NewRecord(0, b"k", bytes(3 << 20), ())])
    await append(backplane, [new(number) for number in range(2_500)])
    count = 0
    async with asyncio.timeout(DEADLINE_S), aclosing(backplane.read(MESSAGES, 0, 0)) as batches:
        while count < 2_506:
            batch = await anext(batches)
            count += len(batch)
            assert 1 <= len(batch) <= 1_000
            assert len(batch) == 1 or sum(len(record.value) for record in batch) <= 1 << 20


async def test_readers_can_be_cancelled_at_any_time(backplane: Backplane) -> None:
    await append(backplane, [new(number) for number in range(5)])

    async def follow() -> None:
        async with aclosing(backplane.read(MESSAGES, 0, 0)) as batches:
            async for _ in batches:
                pass

    for turns in range(20):
        async with asyncio.TaskGroup() as tasks:
            reader = tasks.create_task(follow())
            for _ in range(turns):
                await asyncio.sleep(0)
            reader.cancel()
        assert reader.cancelled()
    assert values(await read(backplane, 5)) == list(range(5))


async def test_what_is_stored_outlives_the_object(open_backplane: OpenBackplane) -> None:
    log = await open_backplane()
    await append(log, [new(number, number % 2) for number in range(100)])
    await log.commit("g", MESSAGES, {0: Place(NOW_MS, 17), 1: Place(0, 4)})
    records, log_id = await read(log, 50), await log.log_id()
    bounds = await log.bounds(MESSAGES, 0)
    await log.close()
    log = await open_backplane()
    assert await log.log_id() == log_id
    assert await log.partition_count() == PARTITIONS
    assert await log.bounds(MESSAGES, 0) == bounds
    assert await read(log, 50) == records
    assert await log.committed("g", MESSAGES, 0) == Place(NOW_MS, 17)
    assert await log.committed("g", MESSAGES, 1) == Place(0, 4)
    await append(log, [new(100)])
    assert (await read(log, 51))[50].offset >= bounds[1]


async def test_groups_commit_apart_and_the_last_commit_wins(backplane: Backplane) -> None:
    assert await backplane.committed("g", MESSAGES, 0) is None
    await backplane.commit("g", MESSAGES, {0: Place(NOW_MS, 5), 1: Place(NOW_MS + 1, 6)})
    await backplane.commit("g", MESSAGES, {0: Place(NOW_MS - 2, 3)})
    await backplane.commit("h", MESSAGES, {0: Place(NOW_MS + 3, 9)})
    found = [await backplane.committed("g", MESSAGES, partition) for partition in range(3)]
    assert found == [Place(NOW_MS - 2, 3), Place(NOW_MS + 1, 6), None]
    assert await backplane.committed("h", MESSAGES, 0) == Place(NOW_MS + 3, 9)
    await backplane.commit("g", MESSAGES, {0: Place(0, 4)})
    assert await backplane.committed("g", MESSAGES, 0) == Place(0, 4)
    assert await backplane.committed("g", DEAD_LETTERS, 0) is None


async def test_close_ends_readers_with_an_error_and_is_idempotent(backplane: Backplane) -> None:
    async def follow() -> Exception | None:
        try:
            async with aclosing(backplane.read(MESSAGES, 0, 0)) as batches:
                async for _ in batches:
                    pass
        except Exception as error:  # noqa: BLE001  any error will do, and it is what is judged
            return error
        return None

    producer = await backplane.producer()
    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
        reader = tasks.create_task(follow())
        await asyncio.sleep(0)
        await backplane.close()
        assert await reader is not None
    await backplane.close()
    with pytest.raises(ProducerEnded):
        await producer.append([new(1)])


async def test_a_group_shares_the_partitions_as_members_come_and_go(backplane: Backplane) -> None:
    workers = Workers()
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(workers.member(backplane, "first"))
        await workers.until(PARTITIONS)
        second = tasks.create_task(workers.member(backplane, "second"))
        await workers.until(PARTITIONS // 2, PARTITIONS // 2)
        third = tasks.create_task(workers.member(backplane, "third"))
        await workers.until(2, 1, 1)
        first.cancel()
        await workers.until(2, 2)
        third.cancel()
        await workers.until(PARTITIONS)
        second.cancel()
    assert workers.at_work == {}


async def test_groups_share_apart_and_a_group_starts_again(backplane: Backplane) -> None:
    for group in ("g", "h", "g"):
        seen: set[int] = set()
        all_seen = asyncio.Event()

        async def work(
            partition: int, seen: set[int] = seen, all_seen: asyncio.Event = all_seen
        ) -> None:
            seen.add(partition)
            if len(seen) == PARTITIONS:
                all_seen.set()
            await asyncio.Event().wait()

        async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as tasks:
            member = tasks.create_task(backplane.share(MESSAGES, group, work))
            await all_seen.wait()
            member.cancel()


async def test_what_work_raises_share_raises(backplane: Backplane) -> None:
    async def work(partition: int) -> None:
        if partition == 1:
            raise ZeroDivisionError
        await asyncio.Event().wait()

    async with asyncio.timeout(DEADLINE_S):
        with pytest.raises(ZeroDivisionError):
            await backplane.share(MESSAGES, "g", work)
    workers = Workers()  # and the group goes on without that member
    async with asyncio.TaskGroup() as tasks:
        member = tasks.create_task(workers.member(backplane, "next"))
        await workers.until(PARTITIONS)
        member.cancel()


async def test_what_is_released_and_older_than_the_retention_goes_and_nothing_else(
    open_backplane: OpenBackplane,
) -> None:
    clock = Later()
    log = await open_backplane(retention_ms=WEEK_MS, clock=clock)
    await append(log, [new(number, partition) for number in range(10) for partition in (0, 1, 2)])
    await log.release(MESSAGES, 0, 5)
    await log.release(MESSAGES, 2, 10)
    await log.trim()
    assert await log.bounds(MESSAGES, 0) == (0, 10), "a device may still resume there"
    clock.at_s = time.time() + WEEK_MS / 1_000 + 60
    await log.trim()
    assert await log.bounds(MESSAGES, 0) == (5, 10)
    assert await log.bounds(MESSAGES, 1) == (0, 10), "somebody needs it, however old it is"
    assert await log.bounds(MESSAGES, 2) == (10, 10)
    assert values(await read(log, 5, offset=5)) == [5, 6, 7, 8, 9]
    await log.release(MESSAGES, 0, 3)
    await log.release(MESSAGES, 0, 8)
    await append(log, [new(10)])
    await log.trim()
    assert await log.bounds(MESSAGES, 0) == (8, 11)
    with pytest.raises(Trimmed) as trimmed:
        await read(log, 1, offset=7)
    assert trimmed.value.start == 8


async def test_of_what_is_released_the_retention_keeps_the_newest(
    open_backplane: OpenBackplane,
) -> None:
    clock = Later()
    log = await open_backplane(retention_ms=1, clock=clock)
    await append(log, [new(number) for number in range(5)])
    records = await read(log, 5)
    while records[-1].appended_at_ms <= records[4].appended_at_ms + 1:
        await append(log, [new(len(records))])
        records = await read(log, len(records) + 1)
    end, newest_ms = len(records), records[-1].appended_at_ms
    await log.release(MESSAGES, 0, end)
    clock.at_s = (newest_ms + 0.5) / 1_000
    await log.trim()
    kept = [each.offset for each in records if each.appended_at_ms >= newest_ms - 1]
    assert await log.bounds(MESSAGES, 0) == (kept[0], end)
    assert 4 < kept[0] < end
    clock.at_s += 60
    await log.trim()
    assert await log.bounds(MESSAGES, 0) == (end, end)
    await append(log, [new(end)])
    assert [each.offset for each in await read(log, 1, offset=end)] == [end]


async def test_an_offset_is_found_by_the_time_of_its_append(backplane: Backplane) -> None:
    assert await backplane.offset_at(MESSAGES, 0, 0) == 0
    await append(backplane, [new(number) for number in range(3)])
    first, *_ = await read(backplane, 3)
    assert await backplane.offset_at(MESSAGES, 0, 0) == 0
    assert await backplane.offset_at(MESSAGES, 0, first.appended_at_ms) == 0
    assert await backplane.offset_at(MESSAGES, 0, first.appended_at_ms + 60_000) == 3
    assert await backplane.offset_at(MESSAGES, 1, 0) == 0
