"""The chains of copies that end in a partition: which of them are broken, and when its owner asks
for what is missing.
"""

from __future__ import annotations

from typing import NamedTuple

from cecochat.domain.log.fold import Fold
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Copied, Missing

ASK_AFTER_MS = 2_000
ASK_SELDOM_MS = 300_000


class Standstill(NamedTuple):
    """A chain of copies that is not whole, and since when it has not moved."""

    high: Place
    ask_at_ms: int
    wait_ms: int


class Incoming:
    """What is missing is in `fold`. A copy that is only late comes by itself, so a chain has to
    stand still for a while before its origin is asked. A question that is lost is asked again, at
    growing intervals; one that is asked twice costs repeated copies.
    """

    def __init__(self, partition: int, fold: Fold) -> None:
        self.broken: set[int] = set()  # origin partitions that were asked, and have not mended it
        self._partition = partition
        self._fold = fold
        self._standing: dict[int, Standstill] = {}

    @property
    def unread(self) -> int:
        """The last offset that nobody could read; -1: none since the chains were compared. It may
        have been the last copy of a chain, so what comes later does not show it.
        """
        return self._fold.unread

    def compare(self, origin: int, last: Copied) -> None:
        """The other partition's `Chain` has told, just now, of its last origin that concerns this
        one: whatever else was said, so much is missing.
        """
        self._fold.owed.pop(origin, None)
        self._fold.owe(origin, last.origin)

    def compared(self, unread: int) -> None:
        """All partitions were compared, after this offset turned out to be unreadable."""
        if self._fold.unread == unread:
            self._fold.unread = -1

    def due(self, now_ms: int) -> list[int]:
        """The origin partitions that are to be compared and asked now; call it about once a second,
        `now_ms` by a clock that is never set back.
        """
        fold = self._fold
        self._standing = {
            origin: self._standstill(origin, fold.high_of(origin), now_ms) for origin in fold.owed
        }
        self.broken &= fold.owed.keys()
        return [origin for origin, each in self._standing.items() if each.ask_at_ms <= now_ms]

    def _standstill(self, origin: int, high: Place, now_ms: int) -> Standstill:
        known = self._standing.get(origin)
        if known and known.high == high:
            return known
        return Standstill(high, now_ms + ASK_AFTER_MS, ASK_AFTER_MS)

    def ask(self, origin: int, now_ms: int, *, held: bool = True) -> Missing | None:
        """What to append to that partition, so that its owner brings copies again; None: nothing is
        missing any more. `held`: whether its log has what counted last here, and has not lost that
        with its end.
        """
        if origin not in self._fold.owed:
            return None
        high, _, wait_ms = self._standing[origin]
        wait_ms = min(2 * wait_ms, ASK_SELDOM_MS)
        self._standing[origin] = Standstill(high, now_ms + wait_ms, wait_ms)
        self.broken.add(origin)
        return Missing(self._partition, self._fold.high_of(origin) if held else NOWHERE)
