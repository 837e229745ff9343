"""What a reader does not get to see of a log: what counts behind it, and what is told."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from typing_extensions import override

from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.adapters.embedded.sqlite import Database
from cecochat.domain.errors import ProducerEnded, Undecodable
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.gaps import Gap
from cecochat.domain.log.ids import EPOCH_MS, UserId
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Copied, Copy, LogRecord, Origin, State, Takeover, encode
from cecochat.domain.session import resume
from cecochat.ports.backplane import MESSAGES, NewRecord, Producer
from cecochat.ports.history import Hole
from cecochat.servers.materialize.trims import Hidden
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import Hello, Position

FIRST, SECOND = Place(0, 0), Place(0, 5)
NOW_MS = EPOCH_MS + 1
GARBAGE = Undecodable("garbage")


def origin(number: int, epoch: Place = FIRST, id_: int = 0) -> Origin:
    id_ = id_ or 100 + number
    event = Event(id=id_, user_id="alice")
    return Origin(id_, epoch, number, UserId("alice"), "", (), event.SerializeToString(), event)


def copy(offset: int, after: int) -> Copy:
    return Copy(offset, 1, Place(0, offset), Place(0, after), (UserId("bob"),), b"")


def takeover() -> Takeover:
    return Takeover("server", "session", 1, keeps_clock=False)


def state(as_of: int, count: int, high: dict[int, Copied] | None = None) -> State:
    return State(as_of, FIRST, count, 0, high or {})


def read(records: dict[int, LogRecord | Undecodable]) -> tuple[Fold, list[int], list[Gap]]:
    """The fold, the offsets of what counts of the origins and copies, and all gaps."""
    fold = Fold()
    counted: list[int] = []
    gaps: list[Gap] = []
    for offset, record in records.items():
        counts = fold.step(offset, record, 1)
        gaps += fold.gaps.found
        if counts and isinstance(record, Origin | Copy):
            counted.append(offset)
    return fold, counted, gaps


def spans(gaps: list[Gap]) -> list[tuple[int, int, bool]]:
    return [(each.first, each.last, each.is_vanished) for each in gaps]


def test_what_is_behind_a_record_that_has_vanished_counts() -> None:
    fold, counted, gaps = read({0: takeover(), 1: origin(0), 3: origin(2), 4: origin(3)})
    assert counted == [1, 3, 4]
    assert spans(gaps) == [(2, 2, True)]
    assert (gaps[0].above, fold.unread) == (100, 2)


def test_more_origins_than_offsets_are_missing_so_an_append_had_failed() -> None:
    _, counted, gaps = read({0: takeover(), 1: origin(0), 3: origin(3), 4: origin(4)})
    assert counted == [1]
    assert spans(gaps) == [(2, 2, True), (3, 3, False), (4, 4, False)]
    assert [each.id for each in gaps] == [0, 103, 104], "they may have counted"


def test_a_gap_explains_nothing_behind_what_does_not_count() -> None:
    _, counted, gaps = read({0: takeover(), 1: origin(0), 2: origin(2), 5: origin(3)})
    assert counted == [1]
    assert spans(gaps) == [(3, 4, True), (5, 5, False)]


def test_a_failed_append_alone_leaves_no_doubt() -> None:
    _, counted, gaps = read({0: takeover(), 1: origin(0), 2: origin(2), 3: origin(3)})
    assert (counted, gaps) == ([1], [])


def test_what_is_behind_an_unreadable_record_is_in_doubt() -> None:
    _, counted, gaps = read({0: takeover(), 1: origin(0), 2: GARBAGE, 3: origin(2)})
    assert counted == [1]
    assert spans(gaps) == [(2, 2, False), (3, 3, False)]


def test_an_unreadable_record_before_the_next_number_was_no_message() -> None:
    _, counted, gaps = read({0: takeover(), 1: origin(0), 2: GARBAGE, 3: origin(1), 4: takeover()})
    assert (counted, gaps) == ([1, 3], [])


@pytest.mark.parametrize(("count", "is_told"), [(1, False), (2, True)])
def test_a_state_record_says_whether_an_unreadable_record_was_a_message(
    count: int, is_told: bool
) -> None:
    _, _, gaps = read({0: takeover(), 1: origin(0), 2: GARBAGE, 3: state(2, count)})
    assert spans(gaps) == ([(2, 2, False)] if is_told else [])


def test_before_a_takeover_it_stays_unclear() -> None:
    _, _, gaps = read({0: takeover(), 1: origin(0), 2: GARBAGE, 3: takeover()})
    assert spans(gaps) == [(2, 2, False)]


def test_a_takeover_that_has_vanished_is_in_force() -> None:
    fold, counted, _ = read({0: takeover(), 1: origin(0), 6: origin(0, SECOND), 7: origin(1)})
    assert (counted, fold.epoch, fold.count) == ([1, 6], SECOND, 1)


def test_a_takeover_that_can_be_read_no_more_is_in_force() -> None:
    log = {number: origin(number - 1) for number in range(1, 5)}
    fold, counted, _ = read({0: takeover(), **log, 5: GARBAGE, 6: origin(0, SECOND)})
    assert (counted, fold.epoch) == ([1, 2, 3, 4, 6], SECOND)


def test_an_epoch_that_is_not_hidden_is_not_in_force() -> None:
    _, counted, _ = read({0: takeover(), 1: origin(0), 3: origin(0, SECOND)})
    assert counted == [1]


def test_a_state_record_says_which_copies_have_counted() -> None:
    log: dict[int, LogRecord | Undecodable] = {0: takeover(), 2: copy(3, after=2)}
    fold, counted, _ = read(log)
    assert counted == []
    assert fold.gaps.hides, "a session that resumes here has to be told of a gap"
    fold, counted, _ = read({**log, 3: state(1, 0, {1: Copied(Place(0, 2), 2)}), 4: copy(4, 3)})
    assert (fold.high_of(1), counted) == (Place(0, 4), [4])


def test_ids_lie_above_those_that_have_vanished() -> None:
    fold, _, _ = read({0: takeover(), 1: origin(0), 3: takeover()})
    assert fold.ids(0)[0] > 100
    assert fold.last_id == 100


def test_a_fold_that_begins_where_a_log_begins_takes_that_for_no_gap() -> None:
    fold = Fold()
    fold.step(7, takeover(), 1)
    assert not fold.gaps.found
    restored = Fold.restored(state(7, 0))
    restored.step(9, takeover(), 1)
    assert spans(list(restored.gaps.found)) == [(8, 8, True)]


def test_the_hole_ends_below_the_next_message_and_is_never_empty() -> None:
    def holes(*gaps: Gap, next_id: int) -> list[Hole]:
        hidden = Hidden("log", 0)
        for gap in gaps:
            hidden.add(gap)
        hidden.valid(next_id)
        return hidden.holes

    [hole] = holes(Gap(2, 3, 100, NOW_MS, is_vanished=True), next_id=104)
    assert (hole.first_id, hole.last_id, hole.reason) == (101, 103, "vanished")
    [hole] = holes(Gap(2, 3, 100, NOW_MS, is_vanished=True), next_id=101)
    assert (hole.first_id, hole.last_id) == (101, 101)
    [hole] = holes(Gap(2, 2, 100, NOW_MS), Gap(3, 3, 104, NOW_MS, id=105), next_id=110)
    assert (hole.first_offset, hole.last_offset, hole.reason) == (2, 3, "unproven")


@pytest.mark.parametrize(("offset", "gapped"), [(4, True), (5, False)])
def test_a_session_that_resumes_across_what_is_hidden_is_told_of_a_gap(
    offset: int, gapped: bool
) -> None:
    hello = Hello(position=Position(log_id="log", partition=0, offset=offset))
    start = resume.start(
        hello, log_id="log", partition=0, first_known=-1, log_end=10, read_to=10,
        appended_at_ms=0, hidden_at=5,
    )  # fmt: skip
    assert start.gapped == gapped


class Failing(Database):
    fails = False

    @override
    def commit(self, connection: sqlite3.Connection) -> None:
        if self.fails:
            raise sqlite3.OperationalError("disk I/O error")
        super().commit(connection)


async def append(producer: Producer, partition: int) -> None:
    await producer.append([NewRecord(partition, *encode(copy(1, NOWHERE.offset)))])


async def test_a_failed_commit_skips_no_offset(tmp_path: Path) -> None:
    databases: list[Failing] = []

    def database(path: Path) -> Failing:
        databases.append(Failing(path))
        return databases[0]

    log = await EmbeddedBackplane.open(tmp_path, partition_count=2, database=database)
    try:
        producer = await log.producer()
        await append(producer, 0)
        databases[0].fails = True
        with pytest.raises(ProducerEnded):
            await append(producer, 0)
        databases[0].fails = False
        producer = await log.producer()
        await append(producer, 0)
        await append(producer, 1)
        assert [await log.bounds(MESSAGES, partition) for partition in (0, 1)] == [(0, 2), (0, 1)]
    finally:
        await log.close()
