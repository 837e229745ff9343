"""Which state records tell what stands before them."""

from __future__ import annotations

import pytest

from cecochat.domain.log.place import Place
from cecochat.domain.log.records import ALL_BEFORE, LogRecord, State, Takeover
from cecochat.domain.log.reliable import ReliableStates

START = 10
TAKEOVER = Takeover("server", "session", 1)
AFRESH = Takeover("server", "session", 1, (0, ALL_BEFORE))


def state(as_of: int, clock_ms: int = 0) -> State:
    return State(as_of, Place(0, 0), 0, 0, {}, clock_ms=clock_ms)


@pytest.mark.parametrize(
    ("records", "tells"),
    [
        ([state(9)], True),  # of all that is gone
        ([state(8)], False),  # a record that is gone is missing in it
        ([state(10)], False),  # of itself, or later: of an end that was lost
        ([None, state(10, clock_ms=1_010)], True),
        ([None, state(10, clock_ms=1_009)], False),  # another record stood there
        ([None, TAKEOVER, state(10)], True),
        ([None, AFRESH, state(10)], False),  # the new owner does not know that
        ([None, AFRESH, state(11)], True),
    ],
)
def test_a_state_record_tells(records: list[LogRecord | None], tells: bool) -> None:
    told = ReliableStates(START)
    found = [
        told.take(offset, record, 1_000 + offset)
        for offset, record in enumerate(records, start=START)
    ]
    assert found == [*([None] * (len(records) - 1)), records[-1] if tells else None]
