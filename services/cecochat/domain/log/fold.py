"""What the records of a partition mean: a pure function of their order, the same for every
reader.
"""

from __future__ import annotations

from cecochat.domain.errors import Undecodable
from cecochat.domain.log.chain import Chain, PlaceOf
from cecochat.domain.log.ids import (
    PARTITION_BITS,
    PARTITIONS_MAX,
    SEQUENCE_BITS,
    SEQUENCE_MAX,
    STAMP_MAX,
    message_id,
    partition_in,
    stamp_at,
    stamp_of,
)
from cecochat.domain.log.limits import CLOCKS_APART_MAX_MS, IDS_AHEAD_MAX_MS
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import NOTHING, Copied, Copy, LogRecord, Origin, State, Takeover


class Fold:
    """The state of a partition after some prefix of its log; `step` moves it by one record.

    An origin counts only under the last takeover before it and only as the next of that epoch, so
    neither a paused owner that comes back nor a hole left by a failed append can make history. A
    copy counts only if its origin lies above all that counted before and no earlier one is missing
    in between, as places of the origin's log. What cannot be decoded counts for nobody.

    `place` is for those who forward: see `Chain`.
    """

    def __init__(self, place: PlaceOf | None = None) -> None:
        self.epoch = NOWHERE  # of the last takeover
        self.count = 0  # valid origins in this epoch
        self.top = 0  # the highest stamp seen
        self.last_id = 0  # of the last valid origin
        self.high: dict[int, Copied] = {}  # origin partition -> the last copy that counted
        # origin partition -> the highest origin that concerns this one and is known not to be here;
        # nothing where the chain of copies is whole
        self.owed: dict[int, Place] = {}
        self.copied_to = -1  # `high` says already which copies up to there have counted
        self.unread = -1  # the last offset that nobody could read: it may have been a copy
        self.chain = Chain(place, {})
        self.clock_ms = 0  # the latest append time; 0: not known
        self.is_afresh = False  # nothing tells what was before it, and no takeover was read yet
        self._keeps_clock = True

    def step(self, offset: int, record: LogRecord | Undecodable, appended_at_ms: int) -> bool:
        """Take in the record at `offset`, with the log's own time of its append; whether it
        counts.
        """
        self._tick(record, appended_at_ms)
        match record:
            case Origin():
                return self._origin(offset, record)
            case Copy():
                return offset > self.copied_to and self._copy(record)
            case Takeover():
                # its own time, not the log's clock, is the same wherever a reader begins
                own_ms = appended_at_ms if record.keeps_clock else 0
                self.epoch, self.count = Place(own_ms, offset), 0
                if self.is_afresh:
                    self._begin_ids(appended_at_ms)
            case Undecodable():
                self.unread = offset
                return False
        return True

    def _tick(self, record: LogRecord | Undecodable, appended_at_ms: int) -> None:
        """The same for all readers, also for those who begin at a state record that tells no clock:
        that is of an owner who keeps none, and the clock begins anew with the next who does.
        """
        if isinstance(record, Takeover):
            self._keeps_clock = record.keeps_clock
        self.clock_ms = max(self.clock_ms, appended_at_ms) if self._keeps_clock else 0

    def _origin(self, offset: int, record: Origin) -> bool:
        if not (self.is_fenced_in(record) and self.is_next(record)):
            return False
        self.count += 1
        self.top = max(self.top, stamp_of(record.id))
        self.last_id = record.id
        self.chain.add(Place(self.clock_ms, offset), record)
        return True

    def _begin_ids(self, appended_at_ms: int) -> None:
        """Ids go on above what was before, unless a clock was ahead by more than half of what it
        may be; the other half is for those who answer. Where nothing tells the last id of another
        partition, it is the highest that the log's clock allows; that it names another
        partition shows that it is supposed.
        """
        self.top = stamp_at(appended_at_ms + CLOCKS_APART_MAX_MS // 2) | SEQUENCE_MAX
        self.last_id = message_id(self.top, PARTITIONS_MAX - 1)
        highest = stamp_at(appended_at_ms + CLOCKS_APART_MAX_MS)
        for origin, copied in self.high.items():
            if not copied.id and copied != NOTHING:
                self.high[origin] = copied._replace(id=message_id(highest, origin ^ 1))
        self.is_afresh = False

    def is_fenced_in(self, record: Origin) -> bool:
        """Its owner was not taken over from."""
        return record.epoch.is_same(self.epoch)

    def is_next(self, record: Origin) -> bool:
        """No origin of its epoch is missing before it."""
        return record.number == self.count

    def _copy(self, record: Copy) -> bool:
        origin, high = record.origin_partition, self.high_of(record.origin_partition)
        if not self.is_new(record, high):
            return False
        if not self.is_linked(record, high):
            self.owe(origin, record.origin)
            return False
        self.high[origin] = Copied(record.origin, record.id)
        if not self.owed.get(origin, NOWHERE).lies_above(record.origin):
            self.owed.pop(origin, None)
        self.top = self.top_after_copy(record)
        return True

    def high_of(self, origin: int) -> Place:
        """The last origin of that partition whose copy counted."""
        return self.high.get(origin, NOTHING).origin

    def is_new(self, record: Copy, high: Place) -> bool:
        """Its origin lies above the last one that counted."""
        return record.origin.lies_above(high)

    def is_linked(self, record: Copy, high: Place) -> bool:
        """The copy before it in its chain has counted."""
        return not record.after.lies_above(high)

    def owe(self, origin: int, place: Place) -> None:
        """An origin up to there concerns this partition, and may not be here."""
        known = (self.high_of(origin), self.owed.get(origin, NOWHERE))
        if all(place.lies_above(each) for each in known):
            self.owed[origin] = place

    def top_after_copy(self, record: Copy) -> int:
        """Ids of this partition go on above the whole millisecond of the copy: an answer sorts
        after what it answers. One that is far ahead of the log's clock, as by a wrong clock, does
        not take this partition with it.
        """
        ahead = stamp_at(self.clock_ms + CLOCKS_APART_MAX_MS) if self.clock_ms else STAMP_MAX
        return max(self.top, min(stamp_of(record.id), ahead) | SEQUENCE_MAX)

    def state(self, as_of: int) -> State:
        """The state as a record."""
        return State(
            as_of,
            self.epoch,
            self.count,
            self.top,
            dict(self.high),
            self.last_id,
            dict(self.chain.last),
            dict(self.owed),
            self.unread,
            self.clock_ms,
        )

    def ids(self, partition: int) -> dict[int, int]:
        """Origin partition -> the highest id of its messages that concern the users of `partition`,
        whose fold this is.
        """
        ids = {origin: copied.id for origin, copied in self.high.items()}
        return ids | {partition: self.last_id} if self.last_id else ids

    def since(self, partition: int) -> dict[int, int]:
        """The same for a device that begins here, and takes nothing below for new: where an id is
        only supposed, one that is below all that may come.
        """
        return {
            origin: id_ if origin == partition else _lowered(id_, origin)
            for origin, id_ in self.ids(partition).items()
        }

    @classmethod
    def afresh(cls, position: int, had: dict[int, Copied], place: PlaceOf | None = None) -> Fold:
        """The fold after `position`, of a partition whose log tells nothing any more. What other
        partitions have for it by now, `had`, counts as copied: the history has that, and whoever
        comes back is told of a gap. An id of 0 there: it is not known.
        """
        fold = cls(place)
        fold.is_afresh, fold.high = True, had
        fold.chain.last = dict.fromkeys(had, Copied(Place(0, position), 0))
        return fold

    @classmethod
    def restored(cls, state: State, place: PlaceOf | None = None) -> Fold:
        """The fold as it was after `state.as_of`."""
        fold = cls(place)
        fold.epoch, fold.count, fold.top = state.epoch, state.count, state.top
        fold.high, fold.last_id = dict(state.high), state.last_id
        fold.owed, fold.unread = dict(state.owed), state.unread
        fold.chain.last = dict(state.last)
        fold.clock_ms = state.clock_ms
        fold._keeps_clock = state.clock_ms > 0 or state.as_of < 0
        return fold


def _lowered(last_id: int, origin: int) -> int:
    """The last id of a partition; below all that it may give yet, where that is only supposed."""
    if partition_in(last_id) == origin:
        return last_id
    return max(last_id - (IDS_AHEAD_MAX_MS << PARTITION_BITS + SEQUENCE_BITS), 0)
