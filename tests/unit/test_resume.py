"""Where a session starts, and what it is told of a gap."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.errors import Refusal
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Copied
from cecochat.domain.session import resume
from cecochat.domain.session.resume import Start
from cecochat.v1.messaging_pb2 import Hello, Position


@given(
    st.integers(-1, 30),
    st.integers(-1, 20),
    st.integers(0, 20),
    st.integers(0, 5),
    st.booleans(),
    st.integers(0, 1),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_where_a_session_starts(
    offset: int,
    first_known: int,
    length: int,
    unread: int,
    other_log: bool,
    partition: int,
    clock_ms: int,
    appended_at_ms: int,
) -> None:
    read_to = first_known + 1 + length
    position = Position(log_id="b" if other_log else "a", partition=partition)
    position.offset, position.clock_ms = offset, clock_ms
    hello = Hello(position=position)
    own = not other_log and not partition

    def started() -> Start:
        return resume.start(
            hello,
            log_id="a",
            partition=0,
            first_known=first_known,
            log_end=read_to + unread,
            read_to=read_to,
            appended_at_ms=appended_at_ms,
        )

    if own and read_to <= offset < read_to + unread:
        with pytest.raises(Refusal):  # this owner lags behind the client
            started()
        return
    start = started()
    assert first_known <= start.position < read_to
    if not own or offset >= read_to:
        assert start == Start(read_to - 1, gapped=True)
    elif offset < first_known:
        assert start == Start(first_known, gapped=True)
    elif clock_ms and appended_at_ms > clock_ms:
        assert start == Start(read_to - 1, gapped=True)
    else:
        assert start == Start(offset, gapped=False)


@given(st.integers(-1, 20), st.integers(0, 30))
def test_without_a_position_a_session_starts_live(first_known: int, length: int) -> None:
    end = first_known + 1 + length
    start = resume.start(
        Hello(),
        log_id="a",
        partition=0,
        first_known=first_known,
        log_end=end,
        read_to=end,
        appended_at_ms=0,
    )
    assert start == Start(end - 1, gapped=False)


@pytest.mark.parametrize(
    ("clock_ms", "appended_at_ms", "start"),
    [
        (5_000, 5_001, Start(30, gapped=True)),  # the log has lost its end, and gives offsets again
        (5_000, 5_000, Start(20, gapped=False)),
        (5_000, 4_000, Start(20, gapped=False)),  # an earlier one had the later clock
        (5_000, 0, Start(20, gapped=False)),  # nothing to compare
        (0, 5_001, Start(20, gapped=False)),  # a client of a first version
    ],
)
def test_a_position_whose_record_was_appended_later_than_its_clock_is_a_gap(
    clock_ms: int, appended_at_ms: int, start: Start
) -> None:
    position = Position(log_id="a", partition=2, offset=20, clock_ms=clock_ms)
    started = resume.start(
        Hello(position=position),
        log_id="a",
        partition=2,
        first_known=9,
        log_end=31,
        read_to=31,
        appended_at_ms=appended_at_ms,
    )
    assert started == start


def test_a_gap_names_all_that_was_seen_with_its_clocks() -> None:
    fold = Fold()
    fold.clock_ms = 7_000
    fold.high = {1: Copied(Place(6_000, 40), 1), 2: Copied(Place(0, 50), 2)}
    hello = Hello(position=Position(log_id="a", partition=3, offset=4, clock_ms=2_000))
    gap = resume.gap(hello, "a", 3, 9, fold, 12)
    assert (gap.from_offset, gap.to_offset, gap.token.log_id) == (4, 9, "a")
    assert dict(gap.token.offsets) == {1: 40, 2: 50, 3: 9}
    assert {p: gap.token.clocks.get(p, 0) for p in (1, 2, 3)} == {1: 6_000, 2: 0, 3: 7_000}


def test_a_gap_asks_for_no_partition_that_there_is_not() -> None:
    """The history would refuse the token, and the device could never go on."""
    fold = Fold()
    fold.high = {1: Copied(Place(5, 7), 1), 99: Copied(Place(5, 7), 1)}
    told = resume.gap(Hello(), "log", 0, 3, fold, 4)
    assert dict(told.token.offsets) == {0: 3, 1: 7}
