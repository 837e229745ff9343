"""What a reader of a partition's log does not get to see: offsets that it skips, since their
records have vanished, and records that cannot be read any more.

Offsets are consecutive, so a skipped offset is a record that was there. Whether an unreadable
record could ever be read is not known: if not, its owner ended the epoch, and what was in flight
behind it counts for nobody.
"""

from __future__ import annotations

from typing import NamedTuple

from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Origin, State


class Gap(NamedTuple):
    """Offsets where an acknowledged message may be missing, both included.

    If `is_vanished` is false, the records are there, but nothing shows whether they count. Ids that
    are missing lie above `above`, and were given by `by_ms` (ms since 1970, by the log's clock).
    `id` is that of an origin that can be read; 0 if there is none.
    """

    first: int
    last: int
    above: int
    by_ms: int
    id: int = 0
    is_vanished: bool = False


class _Hidden(NamedTuple):
    first: int
    last: int
    is_vanished: bool

    def above(self, offset: int) -> int:
        """Return how many of these offsets lie above `offset` and have vanished."""
        return max(self.last - max(self.first - 1, offset), 0) if self.is_vanished else 0


class Gaps:
    """Watches the offsets that a fold is given, from `begin` on. `Fold` calls it for each record;
    `found` and `hides` are about the last one.
    """

    def __init__(self) -> None:
        self.found: tuple[Gap, ...] = ()
        # The record, or one before it, may have been a message of somebody.
        self.hides = False
        # That may be the record itself, if it can be read no more, or one before it.
        self.skips = False
        self.vanished_to = -1  # the last offset that was skipped
        self.is_whole = True  # nothing was hidden so far
        # How many origins may have vanished since the last that counted, and by when they were
        # appended, in ms since 1970.
        self.missing = 0
        self.by_ms = 0
        self._next: int | None = None  # the offset that is expected; None: any
        self._knows_ids = True
        self._hidden: list[_Hidden] = []  # in this epoch, or of its takeover
        self._unclear: Gap | None = None  # unreadable, and nothing shows yet what that was
        self._doubts = False  # something was hidden since the last origin that counted
        self._is_closed = False  # an origin of this epoch shows that nothing later counts

    def begin(self, offset: int, *, knows_ids: bool = True) -> None:
        """Expect the record at `offset` next. If nothing is expected, as at the beginning of a log,
        this is not called. `knows_ids`: whether the last valid id is that of a record before.
        """
        self._next, self._knows_ids = offset, knows_ids

    def reach(self, offset: int, last_id: int, appended_at_ms: int) -> None:
        """Take in the offset of the next record; `last_id` is that of the last valid origin."""
        expected, self._next = self._next, offset + 1
        self.found, self.hides, self.skips = (), False, False
        above = last_id if self._knows_ids else 0
        if expected is not None and expected < offset:
            self._hide(_Hidden(expected, offset - 1, is_vanished=True))
            self.found = (Gap(expected, offset - 1, above, appended_at_ms, is_vanished=True),)
            self.missing += 0 if self._is_closed else offset - expected
            self.by_ms, self.vanished_to = appended_at_ms, offset - 1

    def _hide(self, hidden: _Hidden) -> None:
        self._hidden.append(hidden)
        self._doubts = self.hides = self.skips = True
        self.is_whole = False

    def unreadable(self, offset: int, last_id: int, appended_at_ms: int) -> None:
        """Take in that the record at this offset cannot be read."""
        self._hide(_Hidden(offset, offset, is_vanished=False))
        first = self._unclear.first if self._unclear else offset
        above = last_id if self._knows_ids else 0
        self._unclear = Gap(first, offset, above, appended_at_ms)

    def has_begun(self, epoch: Place, in_force: Place) -> bool:
        """Return whether an epoch that an origin names began where something is hidden, so that the
        takeover itself is what can be read no more.

        An owner uses an epoch only once it has read its takeover. So an unreadable takeover that
        some origin names could be read once.
        """
        return epoch.lies_above(in_force) and any(
            each.first <= epoch.offset <= each.last for each in self._hidden
        )

    def begin_epoch(self, offset: int) -> None:
        """Take in that the epoch of a hidden takeover at this offset is in force."""
        self._tell_unclear()
        self.missing = sum(each.above(offset) for each in self._hidden)
        self._doubts, self._is_closed = True, False

    def took_over(self) -> None:
        """Take in that the record is a takeover. What was unreadable before it stays unclear."""
        self._tell_unclear()
        self._hidden.clear()
        self.missing, self._doubts, self._is_closed = 0, False, False

    def counted(self, number: int, count: int) -> None:
        """Take in that the record is a valid origin; `count` were valid before it. If its number
        follows, no message is missing before it.
        """
        if number > count:
            self._tell_unclear()
        self._unclear, self.missing, self._doubts = None, 0, False
        self._knows_ids = True

    def void(self, offset: int, origin: Origin, count: int, appended_at_ms: int) -> None:
        """Take in that the record is an origin of the epoch in force that does not count."""
        if origin.number < count:
            return
        self.missing, self._is_closed = 0, True
        if self._doubts:
            self._tell_unclear()
            self.hides = True
            self.found += (Gap(offset, offset, origin.id - 1, appended_at_ms, origin.id),)

    def state(self, state: State, epoch: Place, count: int) -> None:
        """Take in a state record. It shows whether an unreadable record below it was valid."""
        unclear = self._unclear
        if unclear and state.as_of >= unclear.last and state.epoch.is_same(epoch):
            if state.count > count:
                self._tell_unclear()
            self._unclear = None

    def unlinked(self) -> None:
        """Take in that the record is a copy that does not count, since one before it is missing. If
        something was hidden, it may have counted for a reader that saw that.
        """
        self.hides |= not self.is_whole

    def _tell_unclear(self) -> None:
        if self._unclear:
            self.found += (self._unclear,)
            self._unclear = None
