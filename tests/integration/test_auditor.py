"""The rounds and steps of an audit, against a log that loses its beginning or its end, partitions
that go to another server, and an operator who asks for what is not there.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.adapters.embedded.history import EmbeddedHistory
from cecochat.domain.errors import Refusal, Unavailable
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import encode
from cecochat.ports.backplane import MATERIALIZE_GROUP, MESSAGES, NewRecord, Record, Topic
from cecochat.ports.reading import fold_at
from cecochat.servers.materialize import auditor, on_request
from cecochat.servers.materialize.auditor import Auditor
from cecochat.servers.materialize.comparing import Budget, MissingRow, Walk
from cecochat.servers.materialize.on_request import OnRequest
from tests.integration.test_materialize import (
    BEGAN_MS,
    TAKEOVER,
    append,
    materialized,
    opened,
    origin,
)
from tests.support.damage import SqliteDamage

QUICK_S = 10.0
CHAT = "d:alice~bob"


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EmbeddedBackplane]:
    """A takeover, and five messages behind it with the ids 1 to 5."""
    async with opened(tmp_path / "log") as log:
        await append(log, BEGAN_MS, TAKEOVER, *(origin(n, n + 1) for n in range(5)))
        yield log


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[EmbeddedHistory]:
    history = await EmbeddedHistory.open(tmp_path / "history")
    yield history
    await history.close()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_request, "LOOK_AGAIN_S", 0.01)


def auditing(log: EmbeddedBackplane, history: EmbeddedHistory, mine: list[int]) -> Auditor:
    looking = Auditor(log, history, CollectorRegistry(), lambda: mine)
    looking.rate = 1_000
    return looking


async def test_a_partition_that_goes_away_while_it_is_compared_again_ends_nothing(
    log: EmbeddedBackplane, history: EmbeddedHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditor, "AGAIN_S", 0.0)
    monkeypatch.setattr(auditor, "SLOW_SHARE", 0.0005)  # of 5,000 records: 2
    await materialized(log, history, 5)
    mine = [0]
    looking = auditing(log, history, mine)
    for _ in range(2):
        await looking.round()
    mine.clear()
    looking.rate = 0
    await looking.round()
    assert looking.complete == {}


async def test_a_log_that_does_not_move_is_read_once_a_minute(
    log: EmbeddedBackplane, history: EmbeddedHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    await materialized(log, history, 5)
    looking = auditing(log, history, [0])
    for _ in range(3):
        await looking.round()
    assert looking.complete[0].offset == 5
    read, reads = log.read, list[int]()

    def counted(
        topic: Topic, partition: int, offset: int, *, gather_s: float = 0.0
    ) -> AsyncGenerator[Sequence[Record]]:
        reads.append(offset)
        return read(topic, partition, offset, gather_s=gather_s)

    monkeypatch.setattr(log, "read", counted)
    await looking.round()
    assert reads == []
    monkeypatch.setattr(auditor, "QUIET_S", 0)  # a minute is over
    await looking.round()
    assert set(reads) == {5}


async def test_partitions_take_turns(
    tmp_path: Path, history: EmbeddedHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a round costs the same, however many partitions there are."""
    monkeypatch.setattr(auditor, "AT_ONCE", 1)
    monkeypatch.setattr(auditor, "QUIET_S", 0)
    looked = list[int]()
    check = Walk.check

    async def noted(self: Walk, bounds: tuple[int, int] | None = None) -> bool:
        if bounds:
            looked.append(self._partition)
        return await check(self, bounds)

    monkeypatch.setattr(Walk, "check", noted)
    log = await EmbeddedBackplane.open(tmp_path / "three", partition_count=3)
    looking = auditing(log, history, [0, 1, 2])
    for _ in range(5):
        await looking.round()
    await log.close()
    assert looked == [0, 1, 2, 0, 1]


async def test_who_asks_for_what_lies_behind_the_end_is_refused_and_holds_up_nobody(
    log: EmbeddedBackplane, history: EmbeddedHistory
) -> None:
    await materialized(log, history, 5)
    asked = OnRequest(log, history, lambda _: None)
    async with asyncio.timeout(QUICK_S):
        for after in (6, 10_000):
            with pytest.raises(Refusal, match="below 6"):
                await asked.step(0, after)
        assert (await asked.step(0, 5)).rows == 0
        assert (await asked.step(0, None)).rows == 5


async def begins_in_the_middle(log: EmbeddedBackplane, history: EmbeddedHistory) -> None:
    """Offsets from 4 on are left: two messages, and a state record that tells of both. The history
    holds nothing of them yet.
    """
    fold = await fold_at(log, 0, 5)
    await append(log, BEGAN_MS, NewRecord(0, *encode(fold.state(5))))
    await log.commit(MATERIALIZE_GROUP, MESSAGES, {0: Place(BEGAN_MS, 4)})
    await log.release(MESSAGES, 0, 4)
    await log.trim()
    assert await log.bounds(MESSAGES, 0) == (4, 7)


async def test_of_a_log_that_begins_in_the_middle_no_more_is_complete_than_is_written(
    log: EmbeddedBackplane, history: EmbeddedHistory
) -> None:
    """The only state record that is left tells of what materialize has not reached."""
    await begins_in_the_middle(log, history)
    looking = auditing(log, history, [0])
    for _ in range(2):
        await looking.round()
        assert looking.complete[0].offset == 3
        assert await log.committed(auditor.GROUP, MESSAGES, 0) == Place(0, 4)


async def test_of_a_log_that_begins_in_the_middle_all_that_is_left_is_compared(
    log: EmbeddedBackplane, history: EmbeddedHistory
) -> None:
    """Materialize says that it is whole, and the history is empty."""
    await begins_in_the_middle(log, history)
    looking = auditing(log, history, [0])
    await looking.round()
    await log.commit(MATERIALIZE_GROUP, MESSAGES, {0: Place(BEGAN_MS, 7)})
    for _ in range(2):
        await looking.round()
    assert ids_of(looking.missing_rows.values()) == {4, 5}
    assert looking.complete[0].offset == 3
    step = await OnRequest(log, history, lambda _: None).step(0, None)
    assert (step.up_to, step.whole) == (6, 6)
    assert ids_of(step.missing) == {4, 5}


async def test_where_nothing_that_is_left_tells_what_counts_nothing_is_said_to_be_complete(
    log: EmbeddedBackplane, history: EmbeddedHistory
) -> None:
    await materialized(log, history, 5)
    await log.release(MESSAGES, 0, 4)
    await log.trim()
    looking = auditing(log, history, [0])
    await looking.round()
    assert looking.complete[0].offset == 3
    with pytest.raises(Unavailable, match="which records count"):
        await OnRequest(log, history, lambda _: None).step(0, None)
    await append(log, BEGAN_MS, TAKEOVER)
    await materialized(log, history, 6)
    await looking.round()
    assert looking.complete[0].offset == 6


def ids_of(found: Iterable[MissingRow]) -> set[int]:
    """Of the messages that are missing."""
    return {each.message_id for each in found if each.what == "absent"}


class Log:
    """Hands on to the log that is there now: a new leader may have lost the end."""

    def __init__(self, now: EmbeddedBackplane) -> None:
        self.now = now

    def __getattr__(self, name: str) -> Any:
        return getattr(self.now, name)


@pytest.mark.parametrize("goes_on", [True, False])
async def test_after_the_log_lost_its_end_what_has_the_same_offsets_is_compared(
    tmp_path: Path, history: EmbeddedHistory, monkeypatch: pytest.MonkeyPatch, goes_on: bool
) -> None:
    """Whether the same server goes on, or another one from what was committed."""
    monkeypatch.setattr(auditor, "SLOW_SHARE", 0.0)
    async with opened(tmp_path / "log") as first:
        await append(first, BEGAN_MS, TAKEOVER, origin(0, 1))
    shutil.copytree(tmp_path / "log", tmp_path / "former")
    async with opened(tmp_path / "log") as first, opened(tmp_path / "former") as former:
        log = Log(first)
        await append(first, BEGAN_MS + 5, *(origin(n, n + 1) for n in range(1, 6)))
        await materialized(first, history, 6)
        looking = auditing(cast("EmbeddedBackplane", log), history, [0])
        asked = OnRequest(cast("EmbeddedBackplane", log), history, lambda _: None)
        await looking.round()
        assert looking.complete[0].offset == (await asked.step(0, None)).up_to == 6
        await append(former, BEGAN_MS + 9, *(origin(n, n + 10) for n in range(1, 8)))
        committed = await first.committed(auditor.GROUP, MESSAGES, 0)
        assert committed == Place(BEGAN_MS + 5, 7)
        await former.commit(auditor.GROUP, MESSAGES, {0: committed})
        await materialized(former, history, 8)
        await SqliteDamage(tmp_path / "history").delete_message(CHAT, 11)
        log.now = former
        if not goes_on:
            looking = auditing(former, history, [0])
        for _ in range(2):
            await looking.round()
        assert ids_of(looking.missing_rows.values()) == {11}
        assert ids_of((await asked.step(0, 6)).missing) == {11}


async def test_what_is_missing_and_has_left_the_log_becomes_a_hole(
    log: EmbeddedBackplane, history: EmbeddedHistory, tmp_path: Path
) -> None:
    await materialized(log, history, 5)
    damage = SqliteDamage(tmp_path / "history")
    await damage.delete_message(CHAT, 2)
    await damage.delete_chat("bob", CHAT)
    looking = auditing(log, history, [0])
    for _ in range(2):
        await looking.round()
    assert {each.what for each in looking.missing_rows.values()} == {"absent", "chat"}
    assert await history.holes() == []
    await log.release(MESSAGES, 0, 6)
    await log.trim()
    await looking.round()
    assert looking.missing_rows == {}
    (hole,) = await history.holes()
    assert (hole.name, hole.first_id, hole.last_id, hole.chat_id) == ("0:2", 2, 2, CHAT)
    assert (hole.log_id, hole.user_id) == (await log.log_id(), "alice")


async def test_what_is_missing_of_a_partition_that_goes_away_is_left_to_who_gets_it(
    log: EmbeddedBackplane, history: EmbeddedHistory, tmp_path: Path
) -> None:
    await materialized(log, history, 5)
    await SqliteDamage(tmp_path / "history").delete_message(CHAT, 2)
    mine = [0]
    looking = auditing(log, history, mine)
    for _ in range(2):
        await looking.round()
    assert ids_of(looking.missing_rows.values()) == {2}
    mine.clear()
    await looking.round()
    assert looking.missing_rows == {}
    next_one = auditing(log, history, [0])
    for _ in range(2):
        await next_one.round()
    assert ids_of(next_one.missing_rows.values()) == {2}


async def test_what_is_compared_at_once_is_bounded_in_bytes(
    log: EmbeddedBackplane, history: EmbeddedHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One record is read, however large it is; the rest is the next round's, or step's."""
    monkeypatch.setattr(auditor, "BYTES_AT_ONCE", 1)
    monkeypatch.setattr(on_request, "STEP_BYTES", 1)
    await materialized(log, history, 5)
    looking = auditing(log, history, [0])
    seen = []
    for _ in range(7):
        await looking.round()
        seen.append(looking.complete[0].offset)
    assert seen == [0, 1, 2, 3, 4, 5, 5]
    asked = OnRequest(log, history, lambda _: None)
    steps = [await asked.step(0, None)]
    while steps[-1].up_to < steps[-1].whole:
        steps.append(await asked.step(0, steps[-1].up_to))
    assert [each.up_to for each in steps] == [0, 1, 2, 3, 4, 5]


async def test_a_log_that_loses_its_end_just_before_it_is_read_is_not_trusted(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "log") as first:
        await append(first, BEGAN_MS, TAKEOVER, origin(0, 1))
    shutil.copytree(tmp_path / "log", tmp_path / "former")
    async with opened(tmp_path / "log") as first, opened(tmp_path / "former") as former:
        log = Log(first)
        await append(first, BEGAN_MS + 5, origin(1, 2))
        await append(former, BEGAN_MS + 9, origin(1, 12), origin(2, 13))
        walk = Walk(cast("EmbeddedBackplane", log), 0, NOWHERE)
        assert len(await walk.read(2, Budget(10, 1_000))) == 2
        assert await walk.check()
        log.now = former
        with pytest.raises(Unavailable, match="lost its end"):
            await walk.read(3, Budget(10, 1_000))
        assert not await walk.check()
        assert len(await walk.read(3, Budget(10, 1_000))) == 3
