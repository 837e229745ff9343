"""A place in a partition of the log, as it is remembered outside of it: an offset, and the log's
clock there.

An offset alone is not enough. A log can lose its end (an unclean election, an older copy of its
folder) and gives the same offsets again; whatever remembered one from before would be wrong
without knowing it. The clock is the latest append time up to the offset, by the log itself, so it
only moves up along a log, and everything that was appended after a loss has a later one. Places
are compared by their clocks first, as Raft compares terms before indexes (Ongaro and Ousterhout
2014, section 5.4.1), and Kafka leader epochs before offsets (KIP-101).
"""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """`clock_ms` 0: not known, as in what a first version wrote; then the offset decides alone."""

    clock_ms: int
    offset: int

    def lies_above(self, other: Place) -> bool:
        """Whether it comes later in the life of the log."""
        if self.clock_ms and other.clock_ms:
            return self > other
        return self.offset > other.offset

    def is_same(self, other: Place) -> bool:
        """Whether it is the same record."""
        return not (self.lies_above(other) or other.lies_above(self))

    def holds_where(self, appended_at_ms: int) -> bool:
        """Whether a log whose record at the offset was appended then is the one remembered."""
        return not self.clock_ms or appended_at_ms <= self.clock_ms


NOWHERE = Place(0, -1)
