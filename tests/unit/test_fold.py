"""The fold: a pure function of the records, which a state record carries over."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.fold import Fold
from cecochat.domain.ids import stamp_of
from cecochat.domain.records import Copy, LogRecord, Origin, State, Takeover, decode, encode
from cecochat.v1.events_pb2 import Event

SMALL = st.integers(0, 5)
IDS = st.integers(0, 1 << 40)


def origin(id_: int, epoch: int, number: int) -> Origin:
    event = Event(id=id_, user_id="alice")
    return Origin(id_, epoch, number, "alice", "", (), event.SerializeToString(), event)


RECORDS = st.one_of(
    st.builds(origin, IDS, st.integers(-1, 12), SMALL),
    st.builds(
        Copy, IDS, st.integers(0, 2), st.integers(0, 8), st.integers(-1, 8), st.just(("b",)),
        st.just(b""),
    ),
    st.builds(Takeover, st.just("server"), st.just("session"), SMALL),
    st.just(None),  # a state record of what is known then, or a hole
)  # fmt: skip
LOGS = st.lists(RECORDS, max_size=30)


def folded(fold: Fold, log: list[LogRecord | None], start: int = 0) -> list[bool]:
    return [
        fold.step(start + n, record if record else fold.state(start + n - 1))
        for n, record in enumerate(log)
    ]


@given(LOGS, st.data())
def test_a_state_record_stands_for_all_before_it(
    log: list[LogRecord | None], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(log)))
    whole, prefix = Fold(), Fold()
    counted = folded(whole, log)
    folded(prefix, log[:cut])
    state = decode(*encode(prefix.state(cut - 1)))
    assert isinstance(state, State)
    restored = Fold.restored(state)
    assert folded(restored, log[cut:], cut) == counted[cut:]
    assert restored.state(len(log)) == whole.state(len(log))


@given(LOGS)
def test_no_copy_counts_twice_and_none_is_skipped(log: list[LogRecord | None]) -> None:
    fold = Fold()
    for record, counts in zip(log, folded(fold, log), strict=True):
        if isinstance(record, Copy) and counts:
            assert record.after < record.origin_offset
    counted = [
        (record.origin_partition, record.origin_offset)
        for record, counts in zip(log, folded(Fold(), log), strict=True)
        if counts and isinstance(record, Copy)
    ]
    assert len(counted) == len(set(counted))
    for partition in {p for p, _ in counted}:
        offsets = [offset for p, offset in counted if p == partition]
        assert offsets == sorted(offsets)


@given(LOGS)
def test_origins_count_in_their_epoch_and_without_a_hole(log: list[LogRecord | None]) -> None:
    epoch, numbers = -1, 0
    for offset, (record, counts) in enumerate(zip(log, folded(Fold(), log), strict=True)):
        if isinstance(record, Takeover):
            epoch, numbers = offset, 0
        elif isinstance(record, Origin):
            assert counts == (record.epoch == epoch and record.number == numbers)
            numbers += counts


@given(LOGS)
def test_the_top_is_above_all_that_counted(log: list[LogRecord | None]) -> None:
    fold = Fold()
    for offset, record in enumerate(log):
        before = fold.top
        counts = record is not None and fold.step(offset, record)
        assert fold.top >= before
        if counts and isinstance(record, Origin | Copy):
            assert fold.top >= stamp_of(record.id)
        if counts and isinstance(record, Copy):  # an answer sorts after it, in any partition
            assert fold.top + 1 >> 10 > stamp_of(record.id) >> 10
