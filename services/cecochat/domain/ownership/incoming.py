"""Which chains of copies into a partition are broken, and when its owner asks for the missing."""

from __future__ import annotations

from typing import NamedTuple

from cecochat.domain.log.fold import Fold
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Copied, Missing

ASK_AFTER_MS = 2_000
ASK_SELDOM_MS = 300_000


class Standstill(NamedTuple):
    """A chain of copies that has a gap: where it stands, and when to ask for the missing copies."""

    high: Place
    ask_at_ms: int
    wait_ms: int


class Incoming:
    """Watches the chains of copies that end in one partition; `fold` knows what is missing.

    A copy that is only late arrives by itself, so the origin's partition is asked only if a chain
    has stood still for a while. It is asked again at growing intervals, since a question can be
    lost. A question that is asked twice costs only repeated copies.
    """

    def __init__(self, partition: int, fold: Fold) -> None:
        self.broken: set[int] = set()  # origin partitions that were asked in vain so far
        self._partition = partition
        self._fold = fold
        self._standing: dict[int, Standstill] = {}

    @property
    def unread(self) -> int:
        """The last offset that nobody could read; -1 if there was none since the chains were
        compared. It may have been the last copy of a chain, and then no later copy shows the gap.
        """
        return self._fold.unread

    def compare(self, origin: int, last: Copied) -> None:
        """Take in what the `Chain` of another partition says now: `last` is its last origin that
        concerns this partition. This replaces what was known to be missing from there.
        """
        self._fold.owed.pop(origin, None)
        self._fold.owe(origin, last.origin)

    def compared(self, unread: int) -> None:
        """Note that all partitions were compared after the offset `unread` could not be read."""
        if self._fold.unread == unread:
            self._fold.unread = -1

    def due(self, now_ms: int) -> list[int]:
        """Return the origin partitions that should be compared and asked now. Call this about once
        a second; `now_ms` is by a monotonic clock.
        """
        fold = self._fold
        self._standing = {
            origin: self._standstill(origin, fold.high_of(origin), now_ms) for origin in fold.owed
        }
        self.broken &= fold.owed.keys()
        return [origin for origin, each in self._standing.items() if each.ask_at_ms <= now_ms]

    def _standstill(self, origin: int, high: Place, now_ms: int) -> Standstill:
        before = self._standing.get(origin)
        if before and before.high == high:
            return before
        return Standstill(high, now_ms + ASK_AFTER_MS, ASK_AFTER_MS)

    def ask(self, origin: int, now_ms: int, *, held: bool = True) -> Missing | None:
        """Return the record to append to the partition `origin`, so that its owner copies again
        what is missing; None if nothing is missing any more. `held` says whether its log still has
        the origin that counted last here: it may have lost that with its end.
        """
        if origin not in self._fold.owed:
            return None
        high, _, wait_ms = self._standing[origin]
        wait_ms = min(2 * wait_ms, ASK_SELDOM_MS)
        self._standing[origin] = Standstill(high, now_ms + wait_ms, wait_ms)
        self.broken.add(origin)
        return Missing(self._partition, self._fold.high_of(origin) if held else NOWHERE)
