"""What an owner begins with whose log was cut: what it forwards, what it tells, what it knows."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.domain.errors import Trimmed
from cecochat.domain.log.ids import UserId, message_id, stamp_at, time_ms
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import (
    ALL_BEFORE,
    Copied,
    LogRecord,
    Missing,
    Origin,
    State,
    Takeover,
    encode,
)
from cecochat.ports.backplane import FORWARD_GROUP, MATERIALIZE_GROUP, MESSAGES, Log, NewRecord
from cecochat.ports.reading import lowest_fold
from cecochat.servers.messaging.host import Host
from cecochat.servers.messaging.loading import Loading
from cecochat.servers.messaging.metrics import MessagingMetrics
from cecochat.servers.messaging.watermarks import Watermarks
from cecochat.v1.events_pb2 import Event
from tests.integration.cluster import user_on

ALICE, BOB = user_on(0), user_on(1)
TAKEOVER = Takeover("server", "session", 1)
NOW = stamp_at(time.time_ns() // 1_000_000)


def id_of(number: int) -> int:
    return message_id(NOW + number, 0)


def to_bob(number: int, epoch: int = 0) -> Origin:
    event = Event(id=id_of(number), user_id=ALICE, recipient_ids=[BOB])
    place = Place(0, epoch)
    return Origin(
        event.id, place, number, UserId(ALICE), "", (UserId(BOB),), event.SerializeToString(), event
    )


def to_alice(number: int) -> Origin:
    """Of partition 1, which has given one id."""
    event = Event(id=message_id(NOW, 1), user_id=BOB, recipient_ids=[ALICE])
    recipients = (UserId(ALICE),)
    return Origin(
        event.id, Place(0, 0), number, UserId(BOB), "", recipients, event.SerializeToString(), event
    )


def state(as_of: int, count: int, last: int, epoch: int = 0) -> State:
    """Of partition 0, whose last origin for partition 1 was that one."""
    sent = {1: Copied(Place(0, last), id_of(last))}
    return State(as_of, Place(0, epoch), count, NOW + count, {}, id_of(count), sent, groups=())


class Partitions:
    """A log of two partitions, and what an owner of the first one begins with."""

    def __init__(self, log: EmbeddedBackplane) -> None:
        self.log = log
        self.metrics = MessagingMetrics(CollectorRegistry())
        self.host = Host("one", Log(log, "log", 2), self.metrics)
        self.loading = Loading(self.host, 0)

    async def append(self, *records: LogRecord, partition: int = 0) -> None:
        producer = await self.log.producer()
        await producer.append([NewRecord(partition, *encode(record)) for record in records])

    async def cut(self, below: int, partition: int = 0) -> None:
        await self.log.release(MESSAGES, partition, below)
        await self.log.trim()
        assert (await self.log.bounds(MESSAGES, partition))[0] == below

    async def uncopied(self) -> tuple[int, int]:
        _, end = await self.log.bounds(MESSAGES, 0)
        return self.loading.uncopied(await self.loading.committed(), end)


@pytest.fixture
async def partitions(tmp_path: Path) -> AsyncGenerator[Partitions]:
    log = await EmbeddedBackplane.open(tmp_path, partition_count=2, retention_bytes=0)
    yield Partitions(log)
    await log.close()


async def test_what_was_cut_before_anything_was_noted_is_told(partitions: Partitions) -> None:
    await partitions.append(TAKEOVER, *map(to_bob, range(5)), state(5, 5, 5))
    await partitions.cut(below=3)
    owner = await partitions.loading.load()
    assert owner.cursor == 3
    assert await partitions.uncopied() == (0, 3)


async def test_what_is_left_and_proves_nothing_is_told_as_not_copied(
    partitions: Partitions,
) -> None:
    """2 and 3 stand before a takeover: the history may have them, and nobody copies them."""
    await partitions.append(TAKEOVER, *map(to_bob, range(3)), TAKEOVER)
    await partitions.append(to_bob(0, epoch=4), state(5, 1, 5, epoch=4))
    await partitions.log.commit(FORWARD_GROUP, MESSAGES, {0: Place(0, 2)})
    await partitions.cut(below=2)
    owner = await partitions.loading.load()
    assert owner.cursor == 2
    assert await partitions.uncopied() == (2, 4)


async def test_a_state_record_that_lands_behind_a_takeover_proves_what_is_before(
    partitions: Partitions,
) -> None:
    await partitions.append(TAKEOVER, *map(to_bob, range(3)), TAKEOVER, state(3, 3, 3))
    await partitions.cut(below=2)
    await partitions.loading.load()
    assert await partitions.uncopied() == (0, 2)


async def test_of_what_may_be_dropped_the_last_is_named_for_each_target(
    partitions: Partitions,
) -> None:
    """So a lane that leaves it out tells that, and its target asks for it."""
    await partitions.append(TAKEOVER, *map(to_bob, range(5)), state(5, 5, 5))
    await partitions.cut(below=3)
    lowest = await lowest_fold(partitions.log, 0, 7, partitions.host.log.partition_of)
    assert lowest.last == {1: Copied(Place(0, 5), id_of(5))}
    assert lowest.fold.chain.last_for(1).origin == Place(0, 2)


async def test_where_nothing_is_left_what_others_have_counts_as_brought(
    partitions: Partitions,
) -> None:
    """So what comes back late is nothing new, and a gap is filled up to there."""
    theirs = to_alice(0)
    await partitions.append(TAKEOVER, theirs, partition=1)
    await partitions.append(TAKEOVER, *map(to_bob, range(5)))
    await partitions.cut(below=6)
    owner = await partitions.loading.load()
    assert owner.cursor == 6
    copied = owner.fold.high[1]
    assert (copied.origin.offset, copied.id) == (1, theirs.id)
    assert copied.origin.clock_ms, "so that it is told apart from a record that comes in its place"
    assert owner.fold.high[0] == Copied(Place(0, 5), 0), "its own users were told of a gap, too"
    assert owner.fold.chain.last_for(1).origin == Place(0, 5)
    assert await partitions.uncopied() == (0, ALL_BEFORE)
    at_ms = time.time_ns() // 1_000_000
    owner.read(6, owner.takeover("server", 1, at_ms), at_ms, at_ms)
    assert owner.ready
    assert owner.state_due(at_ms), "the next reader shall know"
    assert at_ms < time_ms(owner.fold.ids(0)[0]) <= at_ms + 30_000
    assert owner.next_stamp(at_ms) > NOW + 5


async def test_where_the_other_log_tells_nothing_either_all_that_it_has_counts(
    partitions: Partitions,
) -> None:
    theirs = to_alice(1)
    await partitions.append(TAKEOVER, theirs, theirs, partition=1)
    await partitions.cut(below=1, partition=1)
    await partitions.append(TAKEOVER)
    await partitions.cut(below=1)
    owner = await partitions.loading.load()
    assert (owner.fold.high[1].origin.offset, owner.fold.high[1].id) == (2, theirs.id)


async def test_where_nothing_is_left_of_the_other_log_either_no_id_of_it_lies_above(
    partitions: Partitions,
) -> None:
    await partitions.append(TAKEOVER, TAKEOVER, partition=1)
    await partitions.cut(below=2, partition=1)
    await partitions.append(TAKEOVER)
    await partitions.cut(below=1)
    owner = await partitions.loading.load()
    assert owner.fold.high[1].origin.offset == 1
    began_ms = time.time_ns() // 1_000_000
    owner.fold.step(owner.cursor, TAKEOVER, began_ms)
    assert time_ms(owner.fold.high[1].id) > began_ms + 50_000


async def test_where_the_other_owner_began_afresh_too_all_that_it_has_counts(
    partitions: Partitions,
) -> None:
    """It knows how far its origins may go, and not the id of the last of them."""
    theirs = to_alice(0)
    unknown = State(1, Place(0, 0), 1, NOW, {}, theirs.id, {0: Copied(Place(0, 1), 0)}, groups=())
    await partitions.append(TAKEOVER, theirs, unknown, partition=1)
    await partitions.append(TAKEOVER)
    await partitions.cut(below=1)
    owner = await partitions.loading.load()
    assert (owner.fold.high[1].origin.offset, owner.fold.high[1].id) == (2, theirs.id)


async def test_an_owner_that_knows_nothing_begins_anew_once_a_record_tells(
    partitions: Partitions,
) -> None:
    await partitions.append(TAKEOVER, *map(to_bob, range(5)))
    await partitions.cut(below=6)
    owner = await partitions.loading.load()
    owner.read(6, Missing(1, NOWHERE), 1, 1)
    assert not owner.must_end
    owner.read(7, state(5, 5, 5), 1, 1)
    assert owner.must_end


async def test_who_has_read_ahead_begins_anew_behind_one_that_began_afresh(
    partitions: Partitions,
) -> None:
    """And not once more, wherever it is loaded from then."""
    await partitions.append(TAKEOVER, *map(to_bob, range(5)))
    before = await partitions.loading.load()
    read: list[LogRecord] = [TAKEOVER, *map(to_bob, range(5))]
    for offset, record in enumerate(read):
        before.read(offset, record, 1, 1)
    await partitions.cut(below=6)
    afresh = await partitions.loading.load()
    takeover = afresh.takeover("another", 1, 1, partitions.loading.uncopied(None, 6))
    await partitions.append(takeover)
    before.read(6, takeover, 1, 1)
    assert before.must_end
    again = await partitions.loading.load()
    assert again.cursor == 7, "it is loaded from above that takeover"


async def test_who_has_claimed_as_one_that_began_afresh_leaves_it_at_that(
    partitions: Partitions,
) -> None:
    """Two of them would else make each other begin anew, and so on."""
    await partitions.append(TAKEOVER)
    await partitions.cut(below=1)
    first, second = [await partitions.loading.load() for _ in range(2)]
    takeovers = [
        each.takeover("server", 1, 1, partitions.loading.uncopied(None, 1))
        for each in (first, second)
    ]
    assert takeovers[0].is_afresh
    second.read(1, takeovers[0], 1, 1)
    assert not second.must_end


async def test_nobody_begins_afresh_where_a_record_that_tells_has_come_meanwhile(
    partitions: Partitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    await partitions.append(TAKEOVER, *map(to_bob, range(5)))
    await partitions.cut(below=6)
    forwarded = partitions.loading.forwarded

    async def while_a_state_record_lands(committed: Place | None) -> int | None:
        await partitions.append(state(5, 5, 5))
        return await forwarded(committed)

    monkeypatch.setattr(partitions.loading, "forwarded", while_a_state_record_lands)
    with pytest.raises(Trimmed):
        await partitions.loading.load()


@pytest.mark.parametrize("materialized", [0, 2])
async def test_the_owner_of_a_log_that_was_cut_says_soon_and_once_what_it_knows(
    partitions: Partitions, materialized: int
) -> None:
    """Also where all of it is gone and nothing more is written."""
    await partitions.append(TAKEOVER)
    owner = await partitions.loading.load()
    at_ms = time.time_ns() // 1_000_000
    own = owner.takeover("server", 1, at_ms)
    await partitions.append(own)
    for offset, record in enumerate((TAKEOVER, own)):
        owner.read(offset, record, at_ms, at_ms)
    watermarks = Watermarks(partitions.log, partitions.metrics)
    await watermarks._release({0: owner})
    await watermarks._release({0: owner})
    assert not owner.state_due(at_ms)
    await partitions.cut(below=2)
    await partitions.log.commit(MATERIALIZE_GROUP, MESSAGES, {0: Place(0, materialized)})
    owner.forwarder.caught_up(1)
    await watermarks._release({0: owner})
    assert owner.state_due(at_ms)
    owner.states(at_ms)
    await watermarks._release({0: owner})
    assert not owner.state_due(at_ms)
