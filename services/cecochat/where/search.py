"""Where in a partition to begin to look for a record: just behind a state record that is known to
stand before it. State records come about every 1,000 records and what they say only ever grows, so
they serve as the index of the log.
"""

from __future__ import annotations

from collections.abc import Callable

from cecochat.domain.log.ids import stamp_of
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import NOTHING, State

NEAR = 1_000
"""Records that are read through rather than halved."""

Precedes = Callable[[State], bool]
"""Whether what is looked for stands behind what a state record sums up."""


class Search:
    """Halves the offsets from `start` to below `end`: ask `at`, tell `saw`, until there is none."""

    def __init__(self, start: int, end: int, precedes: Precedes) -> None:
        self.state: State | None = None  # the last one found that precedes it
        self.high = end
        self._start = start
        self._low = start
        self._precedes = precedes

    @property
    def at(self) -> int | None:
        """Tell the first state record from this offset up to below `high`; None: near enough."""
        return None if self.high - self._low <= NEAR else (self._low + self.high) // 2

    def saw(self, at: int, offset: int, state: State | None) -> None:
        """The first state record from `at` on is this one, at `offset`; None: there is none."""
        if state is None or not self._precedes(state):
            self.high = at
            return
        self._low = offset + 1
        # One that a paused owner has left late sums up less than those before it. What lies
        # below the start is gone, so that nothing can be continued from there.
        if state.as_of >= self._start - 1 and (not self.state or state.as_of > self.state.as_of):
            self.state = state


def before_origin(message_id: int) -> Precedes:
    """An owner stamps above all that counts: no valid origin before this state has that stamp."""
    stamp = stamp_of(message_id)
    return lambda state: state.top < stamp


def before_copy(origin_partition: int, origin: Place) -> Precedes:
    """Copies from one partition count in the order of their origins."""
    return lambda state: origin.lies_above(state.high.get(origin_partition, NOTHING).origin)
