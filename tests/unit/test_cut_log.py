"""Which records count of a log that begins in the middle, against the fold of the whole log."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.log.chain import Here
from cecochat.domain.log.cut import CutLog
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import UserId
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Copied, Copy, LogRecord, Origin, State, Takeover
from cecochat.v1.events_pb2 import Event

TAKEOVER = Takeover("server", "session", 1)


def at(offset: int) -> Place:
    """When records are appended."""
    return Place(1_000 + offset, offset)


def origin(id_: int, epoch: int, number: int) -> Origin:
    return Origin(id_ << 22, at(epoch), number, UserId("a"), str(id_), (), b"", Event())


@st.composite
def logs(draw: st.DrawFn) -> tuple[list[LogRecord], Fold]:
    """As owners write them: each session appends its numbers in order, some of it late, when
    another has taken over; a state record says what its owner has read up to a while ago.
    """
    records: list[LogRecord] = []
    folds = [Fold()]  # before each record
    owners: list[list[int]] = []  # epoch and next number
    for id_ in range(1, draw(st.integers(1, 40))):
        kinds = ["takeover", "origin", "origin", "origin", "late", "state"] if owners else [""]
        kind = draw(st.sampled_from(kinds))
        record: LogRecord = TAKEOVER
        if kind in ("origin", "late"):
            owner = owners[-1] if kind == "origin" else draw(st.sampled_from(owners))
            record = origin(id_, *owner)
            owner[1] += 1
        elif kind == "state":
            as_of = len(records) - 1 - draw(st.integers(0, 3))
            if as_of < 0:
                continue
            record = folds[as_of + 1].state(as_of)
        else:
            owners.append([len(records), 0])
        fold = Fold.restored(folds[-1].state(0))
        fold.step(len(records), record, at(len(records)).clock_ms)
        records.append(record)
        folds.append(fold)
    return records, folds[-1]


@given(logs(), st.data())
def test_what_is_decided_is_what_the_whole_log_says(
    log: tuple[list[LogRecord], Fold], data: st.DataObject
) -> None:
    records, last = log
    start = data.draw(st.integers(0, len(records)))
    whole = Fold()
    counts = [
        whole.step(offset, record, at(offset).clock_ms) for offset, record in enumerate(records)
    ]
    cut = CutLog(start)
    for offset in range(start, len(records)):
        cut.take(offset, records[offset], at(offset).clock_ms)
    if cut.fold is None:
        assert not any(isinstance(each, Takeover) for each in records[start:])
        return
    unproven = {seen.offset for seen in cut.unproven}
    fold = cut.fold
    for offset in range(start, len(records)):
        record = records[offset]
        says = fold.step(offset, record, at(offset).clock_ms)
        if isinstance(record, Origin):
            assert says == (counts[offset] and offset not in unproven)
    assert (fold.epoch, fold.count) == (last.epoch, last.count)
    if cut.complete and last.last_id:
        assert fold.last_id == last.last_id
    first = next((o for o in range(start, len(records)) if isinstance(records[o], Takeover)), None)
    assert all(first is not None and offset < first for offset in unproven)


def test_a_state_record_proves_what_it_has_counted() -> None:
    """Of its own epoch, up to `as_of`, below its count; nothing stays unproven."""
    cut = CutLog(10)
    state = State(12, at(3), 6, 9 << 10, {}, 9 << 22)
    records: list[LogRecord] = [origin(7, 3, 4), origin(8, 0, 9), origin(9, 3, 5), state]
    for offset, record in enumerate(records, start=10):
        assert cut.fold is None
        cut.take(offset, record, at(offset).clock_ms)
    assert cut.complete
    assert not cut.unproven
    fold = cut.fold
    assert fold
    assert (fold.epoch, fold.count) == (at(3), 4)


def test_a_state_record_proves_nothing_behind_a_hole_that_a_failed_append_left() -> None:
    """Number 6 never landed, so 7 does not count, though it stands before the state record."""
    cut, behind = CutLog(10), origin(7, 3, 7)
    cut.take(10, behind, at(10).clock_ms)
    cut.take(11, State(10, at(3), 6, 9 << 10, {}, 5 << 22), at(11).clock_ms)
    assert cut.complete
    assert cut.fold
    assert not cut.fold.step(10, behind, at(10).clock_ms)
    assert cut.fold.count == 6


def test_what_is_known_of_a_target_from_before_the_beginning_stays_known() -> None:
    """So a copy names that, and its target does not ask for what there never was."""
    cut, before = CutLog(10, Here(0, lambda _: 1)), Copied(at(5), 5 << 22)
    cut.take(10, State(9, at(3), 6, 9 << 10, {}, 5 << 22, {1: before}, groups=()), at(10).clock_ms)
    assert cut.fold
    assert cut.fold.chain.last_for(1) == before


def test_a_takeover_proves_nothing_of_what_is_before_it() -> None:
    cut = CutLog(10)
    cut.take(10, origin(7, 3, 4), at(10).clock_ms)
    cut.take(
        11, State(8, at(3), 4, 0, {}), at(11).clock_ms
    )  # of before the beginning: what came since is gone
    cut.take(12, TAKEOVER, at(12).clock_ms)
    assert [seen.offset for seen in cut.unproven] == [10]
    assert cut.fold
    cut.take(13, State(12, at(12), 0, 5, {1: Copied(at(4), 4)}, 7), at(13).clock_ms)
    assert (cut.fold.epoch, cut.fold.count) == (NOWHERE, 0)
    assert cut.fold.high == {1: Copied(at(4), 4)}


def test_copies_are_known_above_the_first_state_record() -> None:
    cut = CutLog(10)
    cut.take(12, TAKEOVER, at(12).clock_ms)
    assert not cut.complete
    cut.take(13, State(12, at(12), 0, 5, {1: Copied(at(4), 4)}, 7), at(13).clock_ms)
    assert cut.complete


def test_copies_before_a_state_record_count_as_that_says() -> None:
    """One that came before its turn did not count, though what was missing has come by then."""
    early, late = (
        Copy(number << 22, 1, at(number), at(number - 1), (UserId("bob"),), b"")
        for number in (6, 5)
    )
    state = State(11, at(3), 0, 5, {1: Copied(at(5), 5 << 22)}, owed={1: at(6)})
    records: list[LogRecord] = [early, late, state, early]
    cut = CutLog(10)
    for offset, record in enumerate(records, start=10):
        cut.take(offset, record, at(offset).clock_ms)
    fold = cut.fold
    assert fold
    counts = [
        fold.step(offset, record, at(offset).clock_ms)
        for offset, record in enumerate(records, start=10)
    ]
    assert counts == [False, False, True, True]


def to_bob(number: int) -> Origin:
    event = Event(recipient_ids=["bob"])
    return Origin(
        number << 22, at(0), number, UserId("a"), str(number), (UserId("bob"),), b"", event
    )


def test_what_is_forwarded_again_names_nothing_that_comes_later() -> None:
    """The state record knows the last origin for each target, which lies above those that are
    copied again: were it named, no target would count them. Nor is the clock of then known here.
    The first names the last that is gone, so that a target that lacks it asks.
    """
    whole, start = Fold(Here(0, lambda _: 1)), 4
    records: list[LogRecord] = [TAKEOVER, *map(to_bob, range(7))]
    for offset, record in enumerate(records):
        whole.step(offset, record, at(offset).clock_ms)
    records.extend(whole.states(len(records) - 1, 100))
    cut = CutLog(start, Here(0, lambda _: 1))
    for offset in range(start, len(records)):
        cut.take(offset, records[offset], at(offset).clock_ms)
    fold = cut.fold
    assert fold
    before = Place(0, start - 1)
    for offset in range(start, len(records) - 1):
        assert fold.step(offset, records[offset], at(offset).clock_ms)
        assert fold.chain.links[1].after == before
        before = Place(fold.clock_ms, offset)
        assert before == at(offset)
