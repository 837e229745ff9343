"""What the records of a partition mean. It depends only on their order and on the append times that
the log gives, which are the same for every reader, so all readers agree.
"""

from __future__ import annotations

from cecochat.domain.errors import Undecodable
from cecochat.domain.log.chain import Chain, PartitionOf
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

    An origin counts only if its epoch is that of the last takeover before it, and if it is the next
    origin of that epoch. So neither a paused owner that comes back nor a hole left by a failed
    append can change history. A copy counts only if its origin lies above every origin whose copy
    has counted, and if no copy between the two is missing. Both are compared as places in the
    origin's log. A record that cannot be decoded counts for nobody.

    Pass `partition_of` if you forward copies: see `Chain`.
    """

    def __init__(self, partition_of: PartitionOf | None = None) -> None:
        self.epoch = NOWHERE  # of the last takeover
        self.count = 0  # valid origins in this epoch
        self.top = 0  # the highest stamp seen
        self.last_id = 0  # of the last valid origin
        self.high: dict[int, Copied] = {}  # origin partition -> the last copy that counted
        # Origin partition -> the highest origin that concerns this partition and is known to be
        # missing. There is no entry where the chain of copies is whole.
        self.owed: dict[int, Place] = {}
        self.copied_to = -1  # `high` already covers the copies up to this offset
        self.unread = -1  # the last offset that nobody could read: it may have been a copy
        self.chain = Chain(partition_of, {})
        self.clock_ms = 0  # the latest append time; 0: not known
        self.is_afresh = False  # nothing is known of the log before, and no takeover was read yet
        self._keeps_clock = True

    def step(self, offset: int, record: LogRecord | Undecodable, appended_at_ms: int) -> bool:
        """Take in the record at `offset`, and return whether it counts. `appended_at_ms` is the
        log's own time of the append, in ms since 1970.
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
        """Move the log's clock. All readers get the same clock, even those that begin at a state
        record without one: its owner kept no clock, and the clock starts again with the next owner
        that keeps one.
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
        """Start the ids above all that were given before.

        This holds if no clock was ahead by more than half of what is allowed; the other half is for
        clients that answer a message. If the last id of another partition is not known, the highest
        id that the log's clock allows is assumed. An assumed id names a partition that is not its
        own, which is how readers recognise it.
        """
        self.top = stamp_at(appended_at_ms + CLOCKS_APART_MAX_MS // 2) | SEQUENCE_MAX
        self.last_id = message_id(self.top, PARTITIONS_MAX - 1)
        highest = stamp_at(appended_at_ms + CLOCKS_APART_MAX_MS)
        for origin, copied in self.high.items():
            if not copied.id and copied != NOTHING:
                self.high[origin] = copied._replace(id=message_id(highest, origin ^ 1))
        self.is_afresh = False

    def is_fenced_in(self, record: Origin) -> bool:
        """Return whether its owner was still the owner when it was appended."""
        return record.epoch.is_same(self.epoch)

    def is_next(self, record: Origin) -> bool:
        """Return whether no origin of its epoch is missing before it."""
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
        """Return the last origin of that partition whose copy counted."""
        return self.high.get(origin, NOTHING).origin

    def is_new(self, record: Copy, high: Place) -> bool:
        """Return whether its origin lies above the last one whose copy counted."""
        return record.origin.lies_above(high)

    def is_linked(self, record: Copy, high: Place) -> bool:
        """Return whether the copy before it in its chain has counted."""
        return not record.after.lies_above(high)

    def owe(self, origin: int, place: Place) -> None:
        """Note that the origin at `place` concerns this partition, and that its copy may be
        missing.
        """
        noted = (self.high_of(origin), self.owed.get(origin, NOWHERE))
        if all(place.lies_above(each) for each in noted):
            self.owed[origin] = place

    def top_after_copy(self, record: Copy) -> int:
        """Return the highest stamp once this copy has counted.

        It covers the whole millisecond of the copy, so that an answer sorts after the message it
        answers. A copy whose id is far ahead of the log's clock, say because a server's clock was
        wrong, raises the stamp only as far as clocks may differ.
        """
        ahead = stamp_at(self.clock_ms + CLOCKS_APART_MAX_MS) if self.clock_ms else STAMP_MAX
        return max(self.top, min(stamp_of(record.id), ahead) | SEQUENCE_MAX)

    def state(self, as_of: int) -> State:
        """This state as a record, which says that it holds after the offset `as_of`."""
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
        the partition that this fold reads.
        """
        ids = {origin: copied.id for origin, copied in self.high.items()}
        return ids | {partition: self.last_id} if self.last_id else ids

    def since(self, partition: int) -> dict[int, int]:
        """Like `ids`, for a device that begins here and treats nothing up to these ids as new. An
        assumed id is lowered until it lies below every id that can still come.
        """
        return {
            origin: id_ if origin == partition else _lowered(id_, origin)
            for origin, id_ in self.ids(partition).items()
        }

    @classmethod
    def afresh(
        cls, position: int, high: dict[int, Copied], partition_of: PartitionOf | None = None
    ) -> Fold:
        """Return the fold after `position` of a partition whose log no longer says what its state
        was.

        `high` has the last origin of each other partition that concerns this one. All up to there
        counts as copied: the history has it, and devices that come back are told of a gap. An id of
        0 in it is not known.
        """
        fold = cls(partition_of)
        fold.is_afresh, fold.high = True, high
        fold.chain.last = dict.fromkeys(high, Copied(Place(0, position), 0))
        return fold

    @classmethod
    def restored(cls, state: State, partition_of: PartitionOf | None = None) -> Fold:
        """Return the fold as it was after `state.as_of`."""
        fold = cls(partition_of)
        fold.epoch, fold.count, fold.top = state.epoch, state.count, state.top
        fold.high, fold.last_id = dict(state.high), state.last_id
        fold.owed, fold.unread = dict(state.owed), state.unread
        fold.chain.last = dict(state.last)
        fold.clock_ms = state.clock_ms
        fold._keeps_clock = state.clock_ms > 0 or state.as_of < 0
        return fold


def _lowered(last_id: int, origin: int) -> int:
    """Return the last id of the partition `origin`, or if it is only assumed, an id below all that
    this partition may still give.
    """
    if partition_in(last_id) == origin:
        return last_id
    return max(last_id - (IDS_AHEAD_MAX_MS << PARTITION_BITS + SEQUENCE_BITS), 0)
