"""Which records count of a log that begins in the middle, as what was before them is gone."""

from __future__ import annotations

from typing import NamedTuple

from cecochat.domain.errors import Undecodable
from cecochat.domain.log.chain import PlaceOf
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Copied, LogRecord, Origin, State, Takeover
from cecochat.domain.log.told import Told


class Seen(NamedTuple):
    """An origin of which it is not known yet whether it counts."""

    offset: int
    id: int
    epoch: Place
    number: int


class Undecided:
    """Takes the records of a log from its `start` on until one of them says which origins before it
    count. `fold` is then the fold to read the log with once more, from `start` on.

    A state record decides everything: its epoch was in force from `start` on, an owner appends each
    number of its epoch once, and those below `count` have counted. A takeover decides what follows
    it, and nothing that is before it: those origins stay `unproven`, and do not count, unless the
    reader goes on and finds that a state record of the owner before has landed after all.
    """

    def __init__(self, start: int, place: PlaceOf | None = None) -> None:
        self._start = start
        self._place = place
        self._told = Told(start)
        self._origins: list[Seen] = []
        self.fold: Fold | None = None  # exact for origins
        self.unproven: list[Seen] = []
        self._taken_over = -1
        self.last: dict[int, Copied] = {}  # the last origin for each target, as a state record knew
        self.complete = False  # the fold is exact for copies too

    def take(self, offset: int, record: LogRecord | Undecodable, appended_at_ms: int) -> None:
        """The next record of the log, and when it was appended."""
        state = self._told.take(offset, record, appended_at_ms)
        if state and not self.complete:
            self._complete(state)
        match record:
            case Origin() if self.fold is None:
                self._origins.append(Seen(offset, record.id, record.epoch, record.number))
            case Takeover() if self.fold is None:
                self.fold, self.unproven = Fold(self._place), self._origins
                self._taken_over = offset

    def _complete(self, state: State) -> None:
        known, self.fold = self.fold, Fold.restored(state, self._place)
        # The log is read once more from `start`, where nothing is known yet of what comes later,
        # but for copies; the last origin for a target may be any of those that are gone.
        self.fold.copied_to = state.as_of
        self.fold.clock_ms, self.last = 0, state.last
        gone = Copied(Place(0, self._start - 1), 0)
        self.fold.chain.last = {
            target: copied if copied.origin.offset < self._start else gone
            for target, copied in state.last.items()
        }
        if known is None or state.as_of < self._taken_over:
            self.fold.count, self.unproven = self._first_number(state), []
        else:
            self.fold.epoch, self.fold.count = known.epoch, known.count
        self.complete = True

    def _first_number(self, state: State) -> int:
        """Of those that are left of what the state record has counted."""
        return next(
            (
                seen.number
                for seen in self._origins
                if seen.offset <= state.as_of
                and seen.epoch.is_same(state.epoch)
                and seen.number < state.count
            ),
            state.count,
        )
