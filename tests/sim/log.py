"""A partition of the log, and the producer sessions that append to it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from cecochat.domain.errors import Trimmed, Undecodable
from cecochat.domain.log.chain import Here
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Copy, LogRecord, State, decode, encode
from cecochat.domain.log.reliable import ReliableStates

if TYPE_CHECKING:
    from tests.sim.server import Server

LOG_ID = "log"


class Log:
    """One partition. Records stay for ever, for the oracle; readers may not go below `start`."""

    def __init__(self) -> None:
        self.records: list[LogRecord | Undecodable] = []
        self.appended_at_ms: list[int] = []  # by the log's own clock
        self.meant: dict[int, LogRecord] = {}  # offset -> what cannot be read there
        self.start = 0
        self.gone: set[int] = set()  # offsets whose records have vanished; the oracle knows them

    def is_gone(self, offset: int) -> bool:
        """Whether readers see nothing at an offset."""
        return offset in self.gone

    def offsets(self, first: int, below: int) -> list[int]:
        """Those of the records that readers see."""
        return [offset for offset in range(first, below) if offset not in self.gone]

    def at_or_after(self, offset: int) -> int:
        """The next offset that readers see; the last record does not vanish."""
        while offset in self.gone:
            offset += 1
        return offset

    @property
    def end(self) -> int:
        """The offset of the next record."""
        return len(self.records)

    def append(self, record: LogRecord, now_ms: int) -> int:
        """Store a record the way it is stored, as bytes; returns its offset."""
        offset = len(self.records)
        record = decode(*encode(record))
        self.records.append(record)
        self.appended_at_ms.append(now_ms)
        return offset

    def append_garbage(self, meant: LogRecord, now_ms: int) -> int:
        """Store a record so that no reader understands it; returns its offset."""
        self.meant[len(self.records)] = meant
        self.records.append(Undecodable("garbage"))  # readers tell records apart by identity
        self.appended_at_ms.append(now_ms)
        return len(self.records) - 1

    def fold_at(self, position: int, here: Here | None = None) -> Fold:
        """What a reader knows after `position`. Raises `Trimmed`."""
        if fold := self.known_fold_at(position, here):
            return fold
        if position < self.end - 1:
            raise Trimmed(0, position, self.start)
        return Fold(here)

    def known_fold_at(self, position: int, here: Here | None = None) -> Fold | None:
        """The same, from the last state record at or before it; None: what is left does not
        tell.
        """
        reliable = self.reliable(with_groups=here is not None)
        kept = [(offset, state) for offset, state in reliable if state.as_of <= position]
        if kept:
            before = [each for each in kept if each[0] <= position]
            state = before[-1][1] if before else kept[0][1]
            return self._continued(Fold.restored(state, here), state.as_of, position)
        return None if self.start else self._continued(Fold(here), -1, position)

    def _continued(self, fold: Fold, as_of: int, position: int) -> Fold:
        for offset in self.offsets(as_of + 1, position + 1):
            fold.step(offset, self.records[offset], self.appended_at_ms[offset])
        return fold

    def lacks(self, copy: Copy) -> bool:
        """Whether neither that copy has counted nor a later one from there."""
        fold = Fold()
        for offset, record in enumerate(self.records):
            fold.step(offset, record, self.appended_at_ms[offset])
        return copy.origin.lies_above(fold.high_of(copy.origin_partition))

    def place(self, offset: int) -> Place:
        """An offset, and the log's clock there."""
        return Place(max(self.appended_at_ms[: offset + 1], default=0), offset)

    def holds(self, place: Place) -> bool:
        """Whether the log at that offset is the one that the place was told of, as far as what is
        left can say.
        """
        if place.offset < self.start or not place.clock_ms:
            return place.offset < self.end
        return place.offset < self.end and place.holds_where(self.appended_at_ms[place.offset])

    def goes_on_at(self, lost: Place) -> tuple[int, int | None]:
        """The first offset that was appended to since it lost its end with that place in it, and
        when; None: nothing was yet.
        """
        since = (
            at for at in range(self.start, self.end) if self.appended_at_ms[at] > lost.clock_ms
        )
        first = next(since, self.end)
        return first, self.appended_at_ms[first] if first < self.end else None

    def last(self, position: int) -> LogRecord | Undecodable | None:
        """The record at a position; None: the position is before all."""
        return self.records[position] if position >= 0 else None

    def differs(self, cursor: int, last: LogRecord | Undecodable | None) -> bool:
        """Whether it holds another record than `last` just below the cursor of a reader."""
        return cursor > self.end or (last is not None and self.records[cursor - 1] is not last)

    def lose(self, records: int) -> list[LogRecord | Undecodable]:
        """The log loses its end, and gives these offsets again; what they were meant to say."""
        end = max(self._whole_up_to(), self.end - records)
        lost = [self.meant.pop(at, self.records[at]) for at in range(end, self.end)]
        del self.records[end:]
        del self.appended_at_ms[end:]
        return lost

    def _whole_up_to(self) -> int:
        """Of a log that begins higher, the first state record that tells stays: more is lost than
        anybody could say without it. One that somebody has cut loses nothing: see `Cutting`.
        """
        return self.reliable()[0][0] + 1 if self.start else 0

    def reliable(self, *, with_groups: bool = True) -> list[tuple[int, State]]:
        """The state records that tell of what is kept, and of nothing that was lost; of groups,
        too, where that is asked for.
        """
        reliable = ReliableStates(self.start, with_groups=with_groups)
        left = self.offsets(self.start, self.end)
        said = ((at, reliable.take(at, self.records[at], self.appended_at_ms[at])) for at in left)
        return [(offset, state) for offset, state in said if state]

    @property
    def is_cut(self) -> bool:
        """Whether nothing that is left tells what was before it."""
        return self.start > 0 and not self.reliable()

    def first_known(self) -> int:
        """The lowest position whose state can be had from what is left."""
        if self.start == 0:
            return -1
        return next((state.as_of for _, state in self.reliable()), self.end - 1)


class Producer:
    """One producer session: per target partition a FIFO of requests and one of answers, which are
    (record, offset).
    """

    def __init__(self, name: str, server: Server) -> None:
        self.name = name
        self.server: Server | None = server  # None: dead or abandoned; what it sent may land yet
        self.requests: dict[int, deque[LogRecord]] = {}
        self.answers: dict[int, deque[tuple[LogRecord, int]]] = {}
