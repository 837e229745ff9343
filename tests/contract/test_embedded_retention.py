"""What the embedded log drops, and the clock that it goes by."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

import pytest

from cecochat.adapters.embedded import streams
from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.domain.errors import Trimmed
from cecochat.ports.backplane import DEAD_LETTERS, MESSAGES, NewRecord
from tests.support.backplane import append, new, read, values


class Clock:
    """Seconds since 1970, as told."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now_s


async def test_times_do_not_go_back_with_the_clock_not_even_over_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    log = await EmbeddedBackplane.open(tmp_path, clock=clock)
    await append(log, [new(0)])
    clock.now_s -= 60
    await append(log, [new(1)])
    await log.close()
    log = await EmbeddedBackplane.open(tmp_path, clock=clock)
    await append(log, [new(2)])
    clock.now_s += 61
    await append(log, [new(3)])
    times = [record.appended_at_ms for record in await read(log, 4)]
    assert times == [1_700_000_000_000] * 3 + [1_700_000_001_000]
    await log.close()


async def test_retention_by_age_drops_what_is_old_and_released_and_nothing_else(
    tmp_path: Path,
) -> None:
    clock = Clock()
    log = await EmbeddedBackplane.open(tmp_path, retention_ms=10_000, clock=clock)
    await append(log, [new(number) for number in range(2_500)])
    clock.now_s += 11
    await append(log, [new(2_500)])
    await log.trim()
    assert await log.bounds(MESSAGES, 0) == (0, 2_501), "nothing was released"
    await log.release(MESSAGES, 0, 2_200)
    await log.release(MESSAGES, 0, 100)  # what is released stays released
    await log.trim()
    assert await log.bounds(MESSAGES, 0) == (2_200, 2_501)
    await log.release(MESSAGES, 0, 2_501)
    await log.trim()
    assert await log.bounds(MESSAGES, 0) == (2_500, 2_501)
    with pytest.raises(Trimmed) as trimmed:
        await read(log, 1, offset=2_499)
    assert trimmed.value.start == 2_500
    assert values(await read(log, 1, offset=2_500)) == [2_500]
    await log.close()


async def test_retention_by_size_keeps_the_newest_bytes_of_each_partition(tmp_path: Path) -> None:
    log = await EmbeddedBackplane.open(tmp_path, partition_count=2, retention_bytes=1_000)
    await append(log, [NewRecord(p, b"", bytes(100), ()) for _ in range(30) for p in (0, 1)])
    await log.release(MESSAGES, 0, 30)
    await log.trim()
    assert await log.bounds(MESSAGES, 0) == (20, 30)
    assert await log.bounds(MESSAGES, 1) == (0, 30)
    await log.close()


async def test_offsets_are_not_used_again_after_everything_was_dropped(tmp_path: Path) -> None:
    clock = Clock()
    log = await EmbeddedBackplane.open(tmp_path, retention_ms=1_000, clock=clock)
    await append(log, [new(number) for number in range(10)])
    await log.release(MESSAGES, 0, 10)
    clock.now_s += 2
    await log.trim()
    assert await log.bounds(MESSAGES, 0) == (10, 10)
    await log.close()
    clock.now_s -= 60
    log = await EmbeddedBackplane.open(tmp_path, clock=clock)
    assert await log.bounds(MESSAGES, 0) == (10, 10)
    with pytest.raises(Trimmed):
        await read(log, 1, offset=9)
    await append(log, [new(10)])
    (record,) = await read(log, 1, offset=10)
    assert (record.offset, record.appended_at_ms) == (10, 1_700_000_000_000)
    await log.close()


async def test_a_reader_that_retention_overtakes_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HANDOVER_RECORDS", 1)
    clock = Clock()
    log = await EmbeddedBackplane.open(tmp_path, retention_ms=1_000, clock=clock)
    async with aclosing(log.read(MESSAGES, 0, 0)) as batches:
        await append(log, [new(0)])
        assert values(await anext(batches)) == [0]
        await append(log, [new(1)])
        await append(log, [new(2)])
        await log.release(MESSAGES, 0, 3)
        clock.now_s += 2
        await log.trim()
        assert values(await anext(batches)) == [1]  # it was handed over before the trim
        with pytest.raises(Trimmed):
            await anext(batches)
    await log.close()


async def test_dead_letters_go_after_thirty_days_and_nobody_has_to_release_them(
    tmp_path: Path,
) -> None:
    clock = Clock()
    log = await EmbeddedBackplane.open(
        tmp_path, partition_count=1, retention_ms=1, retention_bytes=0, clock=clock
    )
    letters = await log.producer(DEAD_LETTERS)
    await letters.append([new(1)])
    clock.now_s += 20 * 86_400
    await letters.append([new(2)])
    await log.trim()
    assert await log.bounds(DEAD_LETTERS, 0) == (0, 2)
    clock.now_s += 11 * 86_400
    await log.trim()
    assert await log.bounds(DEAD_LETTERS, 0) == (1, 2)
    await log.close()
