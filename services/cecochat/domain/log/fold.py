"""What the records of a partition mean. It depends only on their order and on the append times that
the log gives, so all readers of the same records agree. Where records have vanished since, a later
reader may know less, and `gaps` says so.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from cecochat.domain.errors import Undecodable
from cecochat.domain.log.chain import Chain, Here
from cecochat.domain.log.gaps import Gaps
from cecochat.domain.log.groups import Groups
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
from cecochat.v1.log_pb2 import GroupMembers


class Fold:
    """The state of a partition after some prefix of its log; `step` moves it by one record.

    An origin counts only if its epoch is that of the last takeover before it, and if it is the next
    origin of that epoch. So neither a paused owner that comes back nor a hole left by a failed
    append can change history. Where records have vanished, the first origin behind them counts if
    those that are missing before it can be among them. A copy counts only if its origin lies above
    every origin whose copy has counted, and if no copy between the two is missing. Both are
    compared as places in the origin's log. A record that cannot be decoded counts for nobody.

    Say where you are if you serve users of the partition: then `chain` knows the copies that each
    origin needs, and `groups` who belongs to which group.
    """

    def __init__(self, here: Here | None = None) -> None:
        self.epoch = NOWHERE  # of the last takeover
        self.count = 0  # valid origins in this epoch
        self.top = 0  # the highest stamp seen
        self.last_id = 0  # of the last valid origin
        self.high: dict[int, Copied] = {}  # origin partition -> the last copy that counted
        # Origin partition -> the highest origin that concerns this partition and is known to be
        # missing. There is no entry where the chain of copies is whole.
        self.owed: dict[int, Place] = {}
        self.copied_to = -1  # `high` and `groups` already cover the records up to this offset
        self.unread = -1  # the last offset that nobody could read: it may have been a copy
        self.chain = Chain(here, {})
        self.here = here
        self.groups = Groups(here) if here else None
        self.clock_ms = 0  # the latest append time; 0: not known
        self.is_afresh = False  # nothing is known of the log before, and no takeover was read yet
        self.gaps = Gaps()
        # A state record has shown that copies counted that this fold did not see, or not count.
        self.has_learned = False
        self._unlinked: list[tuple[int, Copy]] = []  # while it may yet learn that they counted
        self._vanished_id = 0  # above all that may have vanished since the last valid origin
        self._keeps_clock = True

    def step(self, offset: int, record: LogRecord | Undecodable, appended_at_ms: int) -> bool:
        """Take in the record at `offset`, and return whether it counts. `appended_at_ms` is the
        log's own time of the append, in ms since 1970.
        """
        self._reach(offset, appended_at_ms)
        self._tick(record, appended_at_ms)
        match record:
            case Origin():
                return self._origin(offset, record, appended_at_ms)
            case Copy():
                return offset > self.copied_to and self._copy(offset, record)
            case Takeover():
                # its own time, not the log's clock, is the same wherever a reader begins
                own_ms = appended_at_ms if record.keeps_clock else 0
                self.epoch, self.count = Place(own_ms, offset), 0
                if self.gaps.missing:
                    self._raise_ids(stamp_at(self.gaps.by_ms + CLOCKS_APART_MAX_MS // 2))
                self.gaps.took_over()
                if self.is_afresh:
                    self._begin_ids(appended_at_ms)
            case State():
                self.gaps.state(record, self.epoch, self.count)
                if self.gaps.missing:
                    self._raise_ids(record.top)
                if 0 <= self.gaps.vanished_to <= record.as_of:
                    self._learn(record)
            case Undecodable():
                self.unread = offset
                self.gaps.unreadable(offset, self.last_id, appended_at_ms)
                return False
        return True

    def _reach(self, offset: int, appended_at_ms: int) -> None:
        """See whether records have vanished before this one: any of them may have been a copy."""
        self.gaps.reach(offset, self.last_id, appended_at_ms)
        self.has_learned = False
        if self.gaps.found:
            self.unread = offset - 1

    def _tick(self, record: LogRecord | Undecodable, appended_at_ms: int) -> None:
        """Move the log's clock. All readers get the same clock, even those that begin at a state
        record without one: its owner kept no clock, and the clock starts again with the next owner
        that keeps one.
        """
        if isinstance(record, Takeover):
            self._keeps_clock = record.keeps_clock
        self.clock_ms = max(self.clock_ms, appended_at_ms) if self._keeps_clock else 0

    def _raise_ids(self, stamp: int) -> None:
        """Assume that an origin with this stamp may have vanished: later ids lie above it."""
        self.top = max(self.top, stamp | SEQUENCE_MAX)
        self._vanished_id = message_id(self.top, PARTITIONS_MAX - 1)

    def _origin(self, offset: int, record: Origin, appended_at_ms: int) -> bool:
        if self.gaps.has_begun(record.epoch, self.epoch):
            self.epoch, self.count = record.epoch, 0
            self.gaps.begin_epoch(record.epoch.offset)
        if not self.is_fenced_in(record):
            return False
        if not self.is_next(record):
            self.gaps.void(offset, record, self.count, appended_at_ms)
            return False
        self.gaps.counted(record.number, self.count)
        self.count = record.number + 1
        self.top = max(self.top, stamp_of(record.id))
        self.last_id, self._vanished_id = record.id, 0
        self.chain.add(Place(self.clock_ms, offset), record)
        if record.group_event and self.groups and offset > self.copied_to:
            self.groups.take(record.group_event, record.changed_id)
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
        """Return whether no origin of its epoch is missing before it, but what may have vanished.

        A failed append leaves no gap in the offsets. So what is behind it does not count: it was
        never acknowledged, and its sender repeats it.
        """
        return self.count <= record.number <= self.count + self.gaps.missing

    def _learn(self, state: State) -> None:
        """Take over what has counted of the copies that have vanished, and what was linked to them.
        Its owner saw them, and another reader that begins at this state record knows them, too.
        """
        for origin, copied in state.high.items():
            if copied.origin.lies_above(self.high_of(origin)):
                self.high[origin], self.has_learned = copied, True
                self._settle_owed(origin)
        later, self._unlinked = self._unlinked, []
        for offset, copy in later:
            if offset > state.as_of and self.is_new(copy, self.high_of(copy.origin_partition)):
                self._copy(offset, copy)
        self.gaps.hides |= self.has_learned

    def _settle_owed(self, origin: int) -> None:
        if not self.owed.get(origin, NOWHERE).lies_above(self.high_of(origin)):
            self.owed.pop(origin, None)

    def _copy(self, offset: int, record: Copy) -> bool:
        origin, high = record.origin_partition, self.high_of(record.origin_partition)
        if not self.is_new(record, high):
            return False
        if not self.is_linked(record, high):
            self.owe(origin, record.origin)
            self.gaps.unlinked()
            if self.gaps.vanished_to >= 0:
                self._unlinked.append((offset, record))
            return False
        self.high[origin] = Copied(record.origin, record.id)
        self._settle_owed(origin)
        self.top = self.top_after_copy(record)
        if record.group_event and self.groups:
            self.groups.take(record.group_event, record.changed_id)
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

    def states(self, as_of: int, part_members: int) -> list[State]:
        """The same with all that is known of groups, as one or several records of up to so many
        members.
        """
        assert self.groups, "who says nothing of where they are knows no groups"
        state, parts = self.state(as_of), list(self.groups.parts(part_members))
        return [
            replace(state, groups=part, part=number, part_count=len(parts))
            for number, part in enumerate(parts)
        ]

    def ids(self, partition: int) -> dict[int, int]:
        """Origin partition -> the highest id of its messages that concern the users of `partition`,
        the partition that this fold reads.
        """
        ids = {origin: copied.id for origin, copied in self.high.items()}
        last_id = max(self.last_id, self._vanished_id)
        return ids | {partition: last_id} if last_id else ids

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
        cls,
        position: int,
        high: dict[int, Copied],
        here: Here | None = None,
        groups: Iterable[GroupMembers] = (),
    ) -> Fold:
        """Return the fold after `position` of a partition whose log no longer says what its state
        was.

        `high` has the last origin of each other partition that concerns this one. All up to there
        counts as copied: the history has it, and devices that come back are told of a gap. An id of
        0 in it is not known. `groups` are those that other partitions are the home of, after these
        origins.
        """
        fold = cls(here)
        if here:
            fold.groups = Groups.restored(groups, here)
        fold.is_afresh, fold.high = True, high
        fold.gaps.begin(position + 1)
        fold.chain.last = dict.fromkeys(high, Copied(Place(0, position), 0))
        return fold

    @classmethod
    def restored(cls, state: State, here: Here | None = None) -> Fold:
        """Return the fold as it was after `state.as_of`. If the log is not read on from there, say
        where with `gaps.begin`.
        """
        fold = cls(here)
        if here and state.groups is not None:
            fold.groups = Groups.restored(state.groups, here)
        fold.epoch, fold.count, fold.top = state.epoch, state.count, state.top
        fold.high, fold.last_id = dict(state.high), state.last_id
        fold.owed, fold.unread = dict(state.owed), state.unread
        fold.chain.last = dict(state.last)
        fold.clock_ms = state.clock_ms
        fold.gaps.begin(state.as_of + 1)
        fold._keeps_clock = state.clock_ms > 0 or state.as_of < 0
        return fold


def _lowered(last_id: int, origin: int) -> int:
    """Return the last id of the partition `origin`, or if it is only assumed, an id below all that
    this partition may still give.
    """
    if partition_in(last_id) == origin:
        return last_id
    return max(last_id - (IDS_AHEAD_MAX_MS << PARTITION_BITS + SEQUENCE_BITS), 0)
