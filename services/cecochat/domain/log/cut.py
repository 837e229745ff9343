"""Which records count in a log whose beginning is gone."""

from __future__ import annotations

from typing import NamedTuple

from cecochat.domain.errors import Undecodable
from cecochat.domain.log.chain import Here
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Copied, LogRecord, Origin, State, Takeover
from cecochat.domain.log.reliable import ReliableStates


class UnprovenOrigin(NamedTuple):
    """An origin that was read before it is known whether it counts."""

    offset: int
    id: int
    epoch: Place
    number: int


class CutLog:
    """Takes in the records of a log from its `start` on, until one of them says which origins
    before it count. `fold` is then the fold with which to read the log once more, from `start` on.

    A state record decides everything: its epoch was in force from `start` on, an owner appends each
    number of its epoch once, and the origins below `count` have counted. A takeover decides what
    follows it, and nothing that is before it. Those origins stay `unproven` and do not count,
    unless the reader goes on and finds a state record of the previous owner after all.
    """

    def __init__(self, start: int, here: Here | None = None) -> None:
        self._start = start
        self._here = here
        self._states = ReliableStates(start, with_groups=here is not None)
        self._origins: list[UnprovenOrigin] = []
        self.fold: Fold | None = None  # exact for origins
        self.unproven: list[UnprovenOrigin] = []
        self._takeover_offset = -1  # of the first takeover
        self.last: dict[int, Copied] = {}  # the last origin for each target, from a state record
        self.complete = False  # the fold is exact for copies too

    def take(self, offset: int, record: LogRecord | Undecodable, appended_at_ms: int) -> None:
        """Take in the next record of the log. `appended_at_ms` is when it was appended."""
        state = self._states.take(offset, record, appended_at_ms)
        if state and not self.complete:
            self._complete(state)
        match record:
            case Origin() if self.fold is None:
                self._origins.append(UnprovenOrigin(offset, record.id, record.epoch, record.number))
            case Takeover() if self.fold is None:
                self.fold, self.unproven = Fold(self._here), self._origins
                self._takeover_offset = offset

    def _complete(self, state: State) -> None:
        after_takeover, self.fold = self.fold, Fold.restored(state, self._here)
        # The log is read once more from `start`. What the state record says of later records must
        # not be known there yet, except of copies. The last origin for a target may be any of those
        # that are gone.
        self.fold.copied_to = state.as_of
        self.fold.gaps.begin(self._start, knows_ids=False)
        self.fold.clock_ms, self.last = 0, state.last
        gone = Copied(Place(0, self._start - 1), 0)
        self.fold.chain.last = {
            target: copied if copied.origin.offset < self._start else gone
            for target, copied in state.last.items()
        }
        if after_takeover is None or state.as_of < self._takeover_offset:
            self.fold.count, self.unproven = self._first_number(state), []
        else:
            self.fold.epoch, self.fold.count = after_takeover.epoch, after_takeover.count
        self.complete = True

    def _first_number(self, state: State) -> int:
        """Return the number of the first origin that is left of those that the state record
        counted.
        """
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
