"""Finds where to begin the search for a record: after a state record that precedes it.

There is a state record about every 1,000 records, and what they say only ever grows. So they serve
as the index of the log.
"""

from __future__ import annotations

from collections.abc import Callable

from cecochat.domain.log.ids import stamp_of
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import NOTHING, State

NEAR = 1_000
"""So few records are read one by one, instead of being halved again."""

Precedes = Callable[[State], bool]
"""Whether the record that is searched for comes after everything that a state record sums up."""


class Search:
    """A binary search in the offsets from `start` to below `end`.

    While `at` is an offset, look there and call `saw`. The result is in `state`.
    """

    def __init__(self, start: int, end: int, precedes: Precedes) -> None:
        self.state: State | None = None  # the last state that was found to precede the record
        self.high = end
        self._start = start
        self._low = start
        self._precedes = precedes

    @property
    def at(self) -> int | None:
        """The offset from which to look for a state record, below `high`; None at the end."""
        return None if self.high - self._low <= NEAR else (self._low + self.high) // 2

    def saw(self, at: int, offset: int, state: State | None) -> None:
        """Take the first state record from `at` on, which is at `offset`; None if there is none."""
        if state is None or not self._precedes(state):
            self.high = at
            return
        self._low = offset + 1
        # A paused owner may append a state late, which then sums up less than the one before it.
        # A state that is older than the start of the log cannot be continued.
        if state.as_of >= self._start - 1 and (not self.state or state.as_of > self.state.as_of):
            self.state = state


def before_origin(message_id: int) -> Precedes:
    """Return a test for an origin: owners stamp in ascending order, so stamps can be compared."""
    stamp = stamp_of(message_id)
    return lambda state: state.top < stamp


def before_copy(origin_partition: int, origin: Place) -> Precedes:
    """Return a test for a copy: copies from one partition count in the order of their origins."""
    return lambda state: origin.lies_above(state.high.get(origin_partition, NOTHING).origin)
