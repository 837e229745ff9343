"""A place in a partition of the log: an offset, and the log's clock there.

An offset alone is not enough. A log can lose its end (after an unclean election, or if an older
copy of its folder is put back) and then uses the same offsets again. Anybody who remembers an
offset from before would be wrong without noticing. The clock is the latest append time up to the
offset, as the log itself says it. It never goes back along a log, and everything that was appended
after a loss has a later one. Places are compared by their clocks first, as Raft compares terms
before indexes (Ongaro and Ousterhout 2014, section 5.4.1), and Kafka leader epochs before offsets
(KIP-101).
"""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """An offset and the log's clock there, in ms since 1970.

    The clock is 0 if it is not known, as in records of the first version. Then the offset alone
    decides.
    """

    clock_ms: int
    offset: int

    def lies_above(self, other: Place) -> bool:
        """Return whether it comes later in the life of the log."""
        if self.clock_ms and other.clock_ms:
            return self > other
        return self.offset > other.offset

    def is_same(self, other: Place) -> bool:
        """Return whether it is the same record."""
        return not (self.lies_above(other) or other.lies_above(self))

    def holds_where(self, appended_at_ms: int) -> bool:
        """Return whether this place is in a log whose record at the offset was appended at
        `appended_at_ms`. It is not if the log has lost its end since.
        """
        return not self.clock_ms or appended_at_ms <= self.clock_ms


NOWHERE = Place(0, -1)
