"""The fold: a pure function of the records, which a state record carries over."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import EPOCH_MS, UserId, message_id, stamp_at, stamp_of
from cecochat.domain.log.limits import CLOCKS_APART_MAX_MS
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import (
    NOTHING,
    Copied,
    Copy,
    LogRecord,
    Origin,
    State,
    Takeover,
    decode,
    encode,
)
from cecochat.v1.events_pb2 import Event

SMALL = st.integers(0, 5)
IDS = st.integers(0, 1 << 40)
TIMES = st.integers(1, 3)
EPOCHS = st.builds(Place, st.integers(0, 3), st.integers(-1, 12))


def origin(id_: int, epoch: Place, number: int) -> Origin:
    event = Event(id=id_, user_id="alice")
    return Origin(id_, epoch, number, UserId("alice"), "", (), event.SerializeToString(), event)


Log = list[tuple[LogRecord | None, int]]
"""What was appended, and when."""


def logs(clocks: st.SearchStrategy[int]) -> st.SearchStrategy[Log]:
    """`clocks`: of the origins that copies are made of."""
    places = st.builds(Place, clocks, st.integers(0, 8))
    records = st.one_of(
        st.builds(origin, IDS, EPOCHS, SMALL),
        st.builds(
            Copy, IDS, st.integers(0, 2), places, st.just(NOWHERE) | places, st.just(("b",)),
            st.just(b""),
        ),
        st.builds(Takeover, st.just("server"), st.just("session"), SMALL, st.booleans()),
        st.just(None),  # a state record of what is known then, or a hole
    )  # fmt: skip
    return st.lists(st.tuples(records, TIMES), max_size=30)


LOGS = logs(st.integers(0, 3))  # 0: not known
ALIKE = logs(st.just(0)) | logs(st.integers(1, 3))  # all of a first version, or none


def folded(fold: Fold, log: Log, start: int = 0) -> list[bool]:
    return [
        fold.step(start + n, record if record else fold.state(start + n - 1), appended_at_ms)
        for n, (record, appended_at_ms) in enumerate(log)
    ]


@given(LOGS, st.data())
def test_a_state_record_stands_for_all_before_it(log: Log, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(log)))
    whole, prefix = Fold(), Fold()
    counted = folded(whole, log)
    folded(prefix, log[:cut])
    state = decode(*encode(prefix.state(cut - 1)))
    assert isinstance(state, State)
    restored = Fold.restored(state)
    assert folded(restored, log[cut:], cut) == counted[cut:]
    assert restored.state(len(log)) == whole.state(len(log))


@given(ALIKE)
def test_no_copy_counts_twice_and_none_is_skipped(log: Log) -> None:
    counted: list[tuple[int, Place]] = []
    for (record, _), counts in zip(log, folded(Fold(), log), strict=True):
        if isinstance(record, Copy) and counts:
            assert record.after < record.origin
            before = [at for p, at in counted if p == record.origin_partition]
            assert record.after <= (before or [NOWHERE])[-1]
            counted.append((record.origin_partition, record.origin))
    assert len(counted) == len(set(counted))
    for partition in {p for p, _ in counted}:
        places = [at for p, at in counted if p == partition]
        assert places == sorted(places)


def clocks(log: Log) -> list[int]:
    """Of the log, at each record: the latest append time since owners keep it; else 0."""
    found, keeps = [0], True
    for record, appended_at_ms in log:
        if isinstance(record, Takeover):
            keeps = record.keeps_clock
        found.append(max(found[-1], appended_at_ms) if keeps else 0)
    return found[1:]


@given(LOGS)
def test_the_clock_is_the_latest_append_time_whatever_counts(log: Log) -> None:
    fold = Fold()
    for offset, (entry, clock_ms) in enumerate(zip(log, clocks(log), strict=True)):
        folded(fold, [entry], offset)
        assert fold.clock_ms == fold.state(offset).clock_ms == clock_ms


@given(LOGS)
def test_origins_count_in_their_epoch_and_without_a_hole(log: Log) -> None:
    epoch, numbers = NOWHERE, 0
    for offset, ((record, own_ms), counts) in enumerate(zip(log, folded(Fold(), log), strict=True)):
        if isinstance(record, Takeover):
            epoch, numbers = Place(own_ms if record.keeps_clock else 0, offset), 0
        elif isinstance(record, Origin):
            unknown = 0 in (record.epoch.clock_ms, epoch.clock_ms)
            same = record.epoch.offset == epoch.offset if unknown else record.epoch == epoch
            assert counts == (same and record.number == numbers)
            numbers += counts


@given(LOGS)
def test_the_top_is_above_all_that_counted(log: Log) -> None:
    fold, late_ms = Fold(), EPOCH_MS + (1 << 41)  # no id is ahead of that
    for offset, (record, appended_at_ms) in enumerate(log):
        before = fold.top
        counts = record is not None and fold.step(offset, record, late_ms + appended_at_ms)
        assert fold.top >= before
        if counts and isinstance(record, Origin | Copy):
            assert fold.top >= stamp_of(record.id)
        if counts and isinstance(record, Copy):  # an answer sorts after it, in any partition
            assert fold.top + 1 >> 10 > stamp_of(record.id) >> 10


# -- a log that has lost its end, and gives offsets again


@pytest.mark.parametrize(
    ("epoch", "counts"),
    [
        (Place(5_000, 9), True),
        (Place(4_000, 9), False),  # of an owner from before the loss
        (Place(6_000, 9), False),
        (Place(5_000, 8), False),
        (Place(0, 9), True),  # of a first version
        (Place(0, 8), False),
    ],
)
def test_an_origin_names_its_takeover_by_offset_and_clock(epoch: Place, counts: bool) -> None:
    fold = Fold()
    assert fold.step(9, Takeover("server", "session", 1), 5_000)
    state = decode(*encode(fold.state(9)))
    assert isinstance(state, State)
    for each in (fold, Fold.restored(state)):
        assert each.step(10, origin(1, epoch, 0), 6_000) == counts


@pytest.mark.parametrize(("offset", "counts"), [(9, True), (8, False)])
def test_of_a_takeover_without_a_known_clock_the_offset_decides(offset: int, counts: bool) -> None:
    """A state record of a first version tells of it."""
    fold = Fold.restored(State(9, Place(0, 9), 0, 0, {}))
    assert fold.step(10, origin(1, Place(5_000, offset), 0), 6_000) == counts


@pytest.mark.parametrize("keeps_clock", [True, False])
def test_an_epoch_is_the_same_to_those_who_read_the_log_from_different_records_on(
    keeps_clock: bool,
) -> None:
    """A state record of a first version tells no clock, who begins at the takeover knows none, and
    where the leader of a log changes, its times may turn back: what one reader counts, all have to.
    """
    whole, restored, begun = Fold(), Fold.restored(State(0, Place(0, 0), 0, 0, {})), Fold()
    whole.step(0, Takeover("server", "first", 1, keeps_clock=keeps_clock), 2_000)
    for each in (whole, restored, begun):
        each.step(1, Takeover("server", "second", 2), 1_000)
    for each in (whole, restored, begun):
        assert each.step(2, origin(1, Place(1_000, 1), 0), 1_001)


# -- copies from such a log


def copy(at: Place, after: Place = NOWHERE) -> Copy:
    return Copy(1, 7, at, after, (UserId("b"),), b"")


def counts_after(first: Copy, second: Copy) -> bool:
    """Whether the second counts where the first did; so too behind a state record of it."""
    fold = Fold()
    assert fold.step(0, first, 5_000)
    state = decode(*encode(fold.state(0)))
    assert isinstance(state, State)
    counts = fold.step(1, second, 5_001)
    assert Fold.restored(state).step(1, second, 5_001) == counts
    assert fold.high[7].origin == (second if counts else first).origin
    return counts


FORMER = Place(2_000, 50)
"""Of the end that was lost."""


@pytest.mark.parametrize(
    ("at", "counts"),
    [
        (Place(3_000, 20), True),
        (Place(3_000, 50), True),
        (Place(1_000, 60), False),
        (Place(2_000, 51), True),
        (Place(2_000, 50), False),
        (Place(2_000, 49), False),
    ],
)
def test_of_a_later_clock_a_copy_counts_whatever_its_offset(at: Place, counts: bool) -> None:
    assert counts_after(copy(FORMER), copy(at)) == counts


@pytest.mark.parametrize(("offset", "counts"), [(49, False), (50, False), (51, True)])
@pytest.mark.parametrize(("first", "second"), [(0, 3_000), (3_000, 0), (0, 0)])
def test_where_a_clock_is_not_known_offsets_decide(
    first: int, second: int, offset: int, counts: bool
) -> None:
    assert counts_after(copy(Place(first, 50)), copy(Place(second, offset))) == counts


@pytest.mark.parametrize(
    ("after", "counts"),
    [
        (NOWHERE, True),
        (Place(2_000, 49), True),
        (Place(2_000, 50), True),
        (Place(2_000, 51), False),
        (Place(3_000, 20), False),
        (Place(1_000, 60), True),
        (Place(0, 50), True),
        (Place(0, 51), False),
    ],
)
def test_a_copy_names_the_one_before_it_by_its_clock_first(after: Place, counts: bool) -> None:
    assert counts_after(copy(FORMER), copy(Place(4_000, 70), after)) == counts


@pytest.mark.parametrize(("after", "counts"), [(50, True), (51, False)])
def test_of_an_unknown_clock_the_one_before_is_named_by_its_offset(
    after: int, counts: bool
) -> None:
    second = copy(Place(4_000, 70), Place(3_000, after))
    assert counts_after(copy(Place(0, 50)), second) == counts


def test_of_an_id_that_nothing_tells_the_clock_of_the_log_says_how_high_it_may_be() -> None:
    """That of the server that begins afresh may be years ahead, or behind."""
    known = message_id(stamp_at(EPOCH_MS + 5), 2)
    had = {0: Copied(Place(0, 6), 0), 1: Copied(Place(1, 5), 0), 2: Copied(Place(1, 4), known)}
    fold = Fold.afresh(6, {**had, 3: NOTHING})
    at_ms = EPOCH_MS + 1_000_000
    fold.step(7, Takeover("server", "session", 1), at_ms)
    assert fold.ids(0) == {
        0: fold.last_id,
        1: message_id(stamp_at(at_ms + CLOCKS_APART_MAX_MS), 0),
        2: known,
        3: 0,
    }


def test_a_device_that_begins_takes_for_new_what_is_only_supposed_to_be_there() -> None:
    """The other owner may have gone on all the time, with a clock that is behind."""
    known = message_id(stamp_at(EPOCH_MS + 5), 2)
    fold = Fold.afresh(6, {1: Copied(Place(1, 5), 0), 2: Copied(Place(1, 4), known), 3: NOTHING})
    at_ms = EPOCH_MS + 1_000_000
    fold.step(7, Takeover("server", "session", 1), at_ms)
    given_ms = at_ms - CLOCKS_APART_MAX_MS
    since = fold.since(0)
    assert since[1] < message_id(stamp_at(given_ms), 1) < fold.ids(0)[1]
    assert {**since, 1: fold.ids(0)[1]} == fold.ids(0)


def test_who_begins_afresh_gives_ids_above_all_that_may_have_been_before() -> None:
    fold = Fold.afresh(6, {0: Copied(Place(0, 6), 0)})
    fold.step(7, Takeover("server", "session", 1), EPOCH_MS + 1_000_000)
    before = fold.ids(0)[0]
    assert message_id(fold.top + 1, 0) > before, "a device takes what has no higher id for known"
