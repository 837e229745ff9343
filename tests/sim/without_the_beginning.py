"""What stands in the place of a rule about logs that are cut: see `ablations`."""

from __future__ import annotations

from typing import Any

from cecochat.domain.log.cut import CutLog
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import SEQUENCE_MAX, message_id, stamp_at
from cecochat.domain.log.limits import CLOCKS_APART_MAX_MS
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import NOTHING, Copied, LogRecord, Origin, State, Takeover
from cecochat.domain.ownership.owner import Owner
from cecochat.ports.reading import Lowest
from tests.sim import beginning, loading
from tests.sim.history import Materializer
from tests.sim.log import Log
from tests.sim.recall import Recall
from tests.sim.server import Server

_held = Materializer.held


def read_from_the_end(self: Materializer, reached: Place) -> Place:
    """What is left behind a cut is passed over."""
    place = _held(self, reached)
    is_cut = 0 < self.log.start == place.offset + 1
    return place._replace(offset=self.log.end - 1) if is_cut else place


def count_nothing_before(self: CutLog, state: State) -> int:
    return state.count


_complete = CutLog._complete


def count_all_before(self: CutLog, state: State) -> None:
    """Every origin that stands before a state record."""
    _complete(self, state)
    fold = self.fold
    assert fold

    def step(offset: int, record: LogRecord, appended_at_ms: int) -> bool:
        counts = Fold.step(fold, offset, record, appended_at_ms)
        return counts or (isinstance(record, Origin) and offset <= state.as_of)

    vars(fold)["step"] = step


def lowest_by_state(log: Log, place: Any) -> Lowest:
    """Where a state record stands, whatever is left before it."""
    lowest = log.first_known()
    fold = log.fold_at(lowest, place)
    return Lowest(lowest, fold, fold.chain.last, lowest + 1)


_lowest_fold = beginning.lowest_fold


def all_left_is_proven(log: Log, place: Any) -> Lowest:
    return _lowest_fold(log, place)._replace(begins=log.start)


def nothing_uncopied(*_: object) -> tuple[int, int]:
    return 0, 0


_afresh = Fold.afresh


def afresh_without_others(position: int, had: Any, *more: Any) -> Fold:
    fold = _afresh(position, had, *more)
    fold.high = {}
    return fold


_had = loading.had


def had_by_its_own_clock(server: Server, origin: int) -> Copied:
    """An id that nothing tells, as the server that begins afresh reckons it."""
    had, at_ms = _had(server, origin), server.now_ms() + CLOCKS_APART_MAX_MS
    unknown = not had.id and had != NOTHING
    return had._replace(id=message_id(stamp_at(at_ms), 0)) if unknown else had


def recall_while_lanes_take(fold: Fold, cursor: int, end: int, _: int) -> Recall:
    """Reading again ends where no lane takes anything, also before it was where one does."""
    return Recall(fold, cursor, end, cursor)


_begin_ids = Fold._begin_ids


def begin_ids_within_a_millisecond(self: Fold, appended_at_ms: int) -> None:
    """In which those of lower partitions are below what may have been before."""
    _begin_ids(self, appended_at_ms)
    self.top -= SEQUENCE_MAX


def never_outdated(self: Owner, other: Takeover) -> bool:
    return False


def outdated_whatever_it_claims(self: Owner, other: Takeover) -> bool:
    return other.is_afresh and self.cursor > self._log_end


def as_supposed(last_id: int, origin: int) -> int:
    return last_id
