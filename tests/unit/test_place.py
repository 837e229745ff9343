"""Places of a log are compared by its clock first, where both know it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.log.place import NOWHERE, Place

CLOCKS = st.integers(1, 5)
OFFSETS = st.integers(0, 5)
KNOWN = st.builds(Place, CLOCKS, OFFSETS)


@given(KNOWN, KNOWN)
def test_the_later_clock_lies_above_and_of_one_clock_the_higher_offset(a: Place, b: Place) -> None:
    later = a.clock_ms > b.clock_ms
    further = a.clock_ms == b.clock_ms and a.offset > b.offset
    assert a.lies_above(b) == (later or further)
    assert a.is_same(b) == (a == b)
    assert a.lies_above(b) + b.lies_above(a) + a.is_same(b) == 1


@given(KNOWN, OFFSETS)
def test_where_one_knows_no_clock_the_higher_offset_lies_above(known: Place, offset: int) -> None:
    other = Place(0, offset)
    assert known.lies_above(other) == (known.offset > offset)
    assert other.lies_above(known) == (offset > known.offset)
    assert other.is_same(known) == known.is_same(other) == (offset == known.offset)


@given(st.builds(Place, st.integers(0, 5), OFFSETS))
def test_nowhere_lies_below_all(place: Place) -> None:
    assert place.lies_above(NOWHERE)
    assert not NOWHERE.lies_above(place)
    assert not NOWHERE.lies_above(NOWHERE)


@pytest.mark.parametrize(
    ("clock_ms", "appended_at_ms", "holds"),
    [(7, 6, True), (7, 7, True), (7, 8, False), (7, 0, True), (0, 8, True)],
)
def test_a_log_with_a_later_record_there_is_another(
    clock_ms: int, appended_at_ms: int, holds: bool
) -> None:
    assert Place(clock_ms, 3).holds_where(appended_at_ms) == holds
