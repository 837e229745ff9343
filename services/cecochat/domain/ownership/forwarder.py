"""Which copies an owner still owes to other partitions, and up to where they have all of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cecochat.domain.log.chain import Link, Links
from cecochat.domain.log.ids import UserId
from cecochat.domain.log.limits import OwnerLimits
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import NOTHING, Copied, Copy, Origin


class Waiting(NamedTuple):
    """An origin that is waiting to be copied to some users of one partition."""

    at: Place
    origin: Origin
    link: Link


class Lost(NamedTuple):
    """The log has dropped the origins from offset `start` to `end`, and some of them were not
    copied to the partition `target` before.
    """

    target: int
    start: int
    end: int


@dataclass(slots=True)
class Held:
    """How much all lanes of an owner hold."""

    bytes: int = 0


class Lane:
    """What one target partition is owed, in the order of the log: first the copies under way, then
    those that wait, and if more came than may wait, those that have to be read from the log again.
    """

    def __init__(self, held: Held, limits: OwnerLimits) -> None:
        self.under_way: deque[int] = deque()  # origin offsets of copies not acknowledged
        self.behind: int | None = None  # from this offset on, origins have to be read again
        self.recalls = False  # whether what is being read again is for this lane, too
        self._waiting: deque[Waiting] = deque()
        self._waiting_bytes = 0
        self._held = held
        self._limits = limits
        self._lost_from: int | None = None  # from this offset on, the log has dropped origins

    def add(self, waiting: Waiting) -> None:
        """Take in the next origin for this target. It waits, or is forgotten until it is read
        again.
        """
        if self.takes_in:
            if self._is_full:
                self.behind = waiting.at.offset
            else:
                self._push(waiting)

    @property
    def takes_in(self) -> bool:
        """Whether the next origin may wait here. None may overtake those that were forgotten."""
        return self.behind is None

    @property
    def _is_full(self) -> bool:
        return (
            bool(self._waiting)
            and self._waiting_bytes >= self._limits.lane_max_bytes
            and self._held.bytes >= self._limits.lanes_max_bytes
        )

    def _push(self, waiting: Waiting) -> None:
        if self._lost_from is not None:
            after = Place(0, self._lost_from - 1)
            waiting = waiting._replace(link=waiting.link._replace(after=after))
            self._lost_from = None
        self._waiting.append(waiting)
        self._hold(len(waiting.origin.event))

    def _hold(self, size_bytes: int) -> None:
        self._waiting_bytes += size_bytes
        self._held.bytes += size_bytes

    @property
    def wants_recall(self) -> bool:
        """Whether this lane is behind and has room again."""
        return self.behind is not None and self._waiting_bytes <= self._limits.lane_max_bytes // 2

    def recall(self, waiting: Waiting) -> None:
        """Take in an origin that was read again. If there is no room for it, this lane takes none
        after it until the next recall.
        """
        offset = waiting.at.offset
        if not self.recalls_at(offset):
            return
        if self._is_full:
            self.behind, self.recalls = offset, False
        else:
            self._push(waiting)
            self.behind = offset + 1

    def recalls_at(self, offset: int) -> bool:
        """Return whether this lane takes an origin that is read again at `offset`."""
        return self.recalls and self.behind is not None and self.behind <= offset

    def recalled(self, offset: int, following: int) -> None:
        """Note that everything up to `offset` was read again. `following` is the offset that is
        read next for the first time.
        """
        if self.recalls:
            self.recalls = False
            self._move_up(offset, following)

    def rewind(self, start: int) -> None:
        """Forget what waits. Everything from `start` on has to be read and copied again."""
        self._waiting.clear()
        self._hold(-self._waiting_bytes)
        self.behind, self.recalls = start, False
        self._lost_from = None

    def leave_out(self, lowest: int) -> None:
        """Note that the log has dropped everything up to `lowest` that this lane should have read
        again. The next copy names the origin before the loss, so that the target accepts it.
        """
        assert self.behind is not None
        self._lost_from = self.behind
        self.behind = lowest + 1

    def skip(self, done: int, following: int) -> None:
        """Note that the target has everything up to `done` already."""
        while self._waiting and self._waiting[0].at.offset <= done:
            self._pop()
        self._move_up(done, following)

    def _move_up(self, offset: int, following: int) -> None:
        if self.behind is not None:
            self.behind = max(self.behind, offset + 1)
            if self.behind >= following:
                self.behind = None

    @property
    def idle(self) -> bool:
        """Whether a batch may leave: something waits, and no other batch is under way."""
        return bool(self._waiting) and not self.under_way

    def take(self, partition: int, target: int, limit: int) -> list[Copy]:
        """Take the next copies, at most `limit`. They are under way from now on."""
        copies: list[Copy] = []
        while self._waiting and len(copies) < limit:
            at, origin, (user_ids, after) = self._pop()
            copies.append(_copy(origin, target, (partition, at, after), user_ids))
            self.under_way.append(at.offset)
        return copies

    def _pop(self) -> Waiting:
        waiting = self._waiting.popleft()
        self._hold(-len(waiting.origin.event))
        return waiting

    @property
    def owed_from(self) -> int | None:
        """The lowest origin offset that this target may lack, or None if it has all. That is not
        always the oldest under way: a lane can be rewound while copies are under way.
        """
        waiting = self._waiting[0].at.offset if self._waiting else None
        under_way = self.under_way[0] if self.under_way else None
        offsets = (each for each in (under_way, waiting, self.behind) if each is not None)
        return min(offsets, default=None)


def _copy(
    origin: Origin, target: int, where: tuple[int, Place, Place], user_ids: Iterable[UserId]
) -> Copy:
    return Copy(
        origin.id,
        *where,
        tuple(user_ids),
        origin.event,
        origin.trace,
        origin.group_event,
        0 if target in origin.new_targets else origin.changed_id,
    )


class Forwarder:
    """Turns valid origins into copies, in the order in which they are read from the log.

    There is one copy per target partition, linked to the copy before it. Each target has a lane of
    its own, so a slow target holds up no other. Copies for which there is no room are forgotten,
    and read from the log again when their lane has caught up. A lane that is only busy uses the
    room that all of them share, so that it need not read again what it just had in memory.
    """

    def __init__(self, partition: int, done: int, limits: OwnerLimits) -> None:
        self.partition = partition
        self._limits = limits
        self.skipped = done  # another owner has copied everything up to this offset
        self._following = done + 1  # everything below was read
        self._held = Held()
        self._lanes: dict[int, Lane] = {}
        self._idle: dict[int, Lane] = {}  # those from which a batch may leave
        self._behind: dict[int, Lane] = {}

    @property
    def done(self) -> int:
        """The highest offset such that every valid origin up to it is in all its targets. The group
        `forward` commits it. If a commit is stale or lost, copies are repeated, and readers do not
        count those.
        """
        owed = (lane.owed_from for lane in self._lanes.values())
        return min((offset for offset in owed if offset is not None), default=self._following) - 1

    @property
    def owes(self) -> bool:
        """Whether some origin is not in all its targets yet."""
        return any(lane.owed_from is not None for lane in self._lanes.values())

    def add(self, at: Place, origin: Origin, links: Links) -> None:
        """Take in a valid origin that was read at `at`."""
        if at.offset <= self.skipped:
            return
        for target, link in links.items():
            lane = self._lane(target)
            lane.add(Waiting(at, origin, link))
            self._note(target, lane)
        self.caught_up(at.offset)

    def _lane(self, target: int) -> Lane:
        lane = self._lanes.get(target)
        if lane is None:
            lane = self._lanes[target] = Lane(self._held, self._limits)
        return lane

    def caught_up(self, offset: int) -> None:
        """Note that everything up to `offset` was read."""
        self._following = max(self._following, offset + 1)

    def skip(self, done: int) -> None:
        """Note that another owner has copied everything up to `done` to all targets. Call this
        before anything has left here.
        """
        self.skipped = max(self.skipped, done)
        self.caught_up(done)
        for lane in self._lanes.values():
            lane.skip(done, self._following)

    def take(self, limit: int) -> list[tuple[int, list[Copy]]]:
        """Return the copies to append now, by target: up to `limit` for each that has none under
        way.
        """
        idle, self._idle = self._idle, {}
        return [
            (target, lane.take(self.partition, target, limit))
            for target, lane in idle.items()
            if lane.idle
        ]

    def acknowledged(self, target: int, count: int = 1) -> None:
        """Note that the oldest `count` copies under way to a target are durable there."""
        lane = self._lanes[target]
        for _ in range(count):
            lane.under_way.popleft()
        self._note(target, lane)

    def _note(self, target: int, lane: Lane) -> None:
        if lane.idle:
            self._idle[target] = lane
        if lane.behind is not None:
            self._behind[target] = lane

    # -- what was forgotten

    @property
    def is_behind(self) -> bool:
        """Whether a lane may have forgotten something."""
        return bool(self._behind)

    def begin_recall(self) -> int | None:
        """Return the offset from which to read again, for the lanes that are behind and have room;
        None if there are no such lanes.
        """
        self._behind = {
            target: lane for target, lane in self._behind.items() if lane.behind is not None
        }
        for lane in self._behind.values():
            lane.recalls = lane.wants_recall
        return self.recalls_from

    @property
    def recalls_from(self) -> int | None:
        """The lowest offset that a lane still has to read again; None if there is none."""
        starts = (lane.behind for lane in self._behind.values() if lane.recalls)
        return min((start for start in starts if start is not None), default=None)

    def recall(self, at: Place, origin: Origin, links: Links) -> None:
        """Take in a valid origin that was read again at `at`."""
        for target, link in links.items():
            if lane := self._behind.get(target):
                lane.recall(Waiting(at, origin, link))
                self._note(target, lane)

    def recalls(self, offset: int) -> bool:
        """Return whether a lane takes what is read again at `offset`, so that reading should go on.

        `offset` must not be below what `recalls_from` was. A lane that is less far behind than
        others, which are full, has to wait for the next recall.
        """
        return any(lane.recalls_at(offset) for lane in self._behind.values())

    def recalled(self, offset: int) -> None:
        """Note that everything up to `offset` was read again. A lane that took all of it is no
        longer behind, unless more was read in the meantime.
        """
        for lane in self._behind.values():
            lane.recalled(offset, self._following)

    def rewind(self, target: int, high: int) -> None:
        """Read and copy everything above `high` again for a target that lacks copies."""
        lane = self._lane(target)
        lane.rewind(high + 1)
        self._note(target, lane)

    def leave_out(self, lowest: int, last: Mapping[int, Copied] | None) -> list[Lost]:
        """Give up what the log has dropped up to `lowest`, though it should have been read again.

        `lowest` is the position from which the log can be read. `last` has the last origin for each
        target that may be among the dropped ones; None if that is not known for any target. Returns
        what may be lost, as far as that can be said.
        """
        lost = []
        for target, lane in self._behind.items():
            start = lane.behind
            if lane.recalls and start is not None and start <= lowest:
                if last is None or last.get(target, NOTHING).origin.offset >= start:
                    lost.append(Lost(target, start, lowest))
                lane.leave_out(lowest)
        return lost
