"""Which copies an owner still owes the other partitions, and how far it has brought all of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from cecochat.domain.log.chain import Link, Links
from cecochat.domain.log.limits import OwnerLimits
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import NOTHING, Copied, Copy, Origin


class Waiting(NamedTuple):
    """An origin that is to be copied to some users of one partition."""

    at: Place
    origin: Origin
    link: Link


class Lost(NamedTuple):
    """Some of the origins from `start` to `end` were not brought to a target, and the log has
    dropped them.
    """

    target: int
    start: int
    end: int


class Lane:
    """What one target is owed, in log order: copies under way, then some that wait, then, where
    more came than may wait, what has to be read again.
    """

    def __init__(self) -> None:
        self.under_way: deque[int] = deque()  # origin offsets of copies not acknowledged
        self.behind: int | None = None  # from this offset on, it has to be read again
        self.recalls = False  # the reading under way is for this lane too
        self._waiting: deque[Waiting] = deque()
        self._waiting_bytes = 0
        self._dropped_from: int | None = None  # what lies behind that can be brought by nobody

    def add(self, waiting: Waiting, max_bytes: int) -> None:
        """The next origin for this target: it waits, or is forgotten until it is read again."""
        if self.takes_in:
            if self._is_full(max_bytes):
                self.behind = waiting.at.offset
            else:
                self._push(waiting)

    @property
    def takes_in(self) -> bool:
        """Whether the next origin may wait here: none overtakes what was forgotten."""
        return self.behind is None

    def _is_full(self, max_bytes: int) -> bool:
        return bool(self._waiting) and self._waiting_bytes >= max_bytes

    def _push(self, waiting: Waiting) -> None:
        if self._dropped_from is not None:
            after = Place(0, self._dropped_from - 1)
            waiting = waiting._replace(link=waiting.link._replace(after=after))
            self._dropped_from = None
        self._waiting.append(waiting)
        self._waiting_bytes += len(waiting.origin.event)

    def wants_recall(self, max_bytes: int) -> bool:
        """Whether it is behind, and has room again."""
        return self.behind is not None and self._waiting_bytes <= max_bytes // 2

    def recall(self, waiting: Waiting, max_bytes: int) -> None:
        """An origin was read again; after one that finds no room, none is taken until the next
        time.
        """
        offset = waiting.at.offset
        if not self.recalls_at(offset):
            return
        if self._is_full(max_bytes):
            self.behind, self.recalls = offset, False
        else:
            self._push(waiting)
            self.behind = offset + 1

    def recalls_at(self, offset: int) -> bool:
        """Whether it takes an origin that is read again at `offset`."""
        return self.recalls and self.behind is not None and self.behind <= offset

    def recalled(self, offset: int, following: int) -> None:
        """Everything up to `offset` was read again; what is read next for the first time is
        `following`.
        """
        if self.recalls:
            self.recalls = False
            self._move_up(offset, following)

    def rewind(self, start: int) -> None:
        """Everything from `start` on has to be brought again, by a reading that begins anew."""
        self._waiting.clear()
        self._waiting_bytes = 0
        self.behind, self.recalls = start, False
        self._dropped_from = None

    def leave_out(self, lowest: int) -> None:
        """What it is behind by has been dropped up to `lowest`. The next copy names the one before
        that, so that the target goes on from there.
        """
        assert self.behind is not None
        self._dropped_from = self.behind
        self.behind = lowest + 1

    def skip(self, done: int, following: int) -> None:
        """Everything up to `done` is in this target already."""
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
        """Whether a batch may leave: one at a time, and there is something."""
        return bool(self._waiting) and not self.under_way

    def take(self, partition: int, limit: int) -> list[Copy]:
        """The next copies."""
        copies: list[Copy] = []
        while self._waiting and len(copies) < limit:
            at, origin, (users, after) = self._pop()
            copies.append(
                Copy(origin.id, partition, at, after, tuple(users), origin.event, origin.trace)
            )
            self.under_way.append(at.offset)
        return copies

    def _pop(self) -> Waiting:
        waiting = self._waiting.popleft()
        self._waiting_bytes -= len(waiting.origin.event)
        return waiting

    @property
    def owed_from(self) -> int | None:
        """The lowest origin offset that this target may lack; None: it has all. What it is behind
        by lies above all else, unless it was rewound while copies were under way.
        """
        waiting = self._waiting[0].at.offset if self._waiting else None
        under_way = self.under_way[0] if self.under_way else None
        known = (each for each in (under_way, waiting, self.behind) if each is not None)
        return min(known, default=None)


class Forwarder:
    """Turns valid origins, in log order as read, into copies: one a target partition, each linked
    to the one before it. Each target has a lane of its own, so that a slow one holds up nobody:
    what may not wait for it is forgotten, and read again from the log when it has caught up.
    """

    def __init__(self, partition: int, done: int, limits: OwnerLimits) -> None:
        self.partition = partition
        self._limits = limits
        self.skipped = done  # up to here, another owner has brought all
        self._following = done + 1  # everything below was read
        self._lanes: dict[int, Lane] = {}
        self._idle: dict[int, Lane] = {}  # those from which a batch may leave
        self._behind: dict[int, Lane] = {}

    @property
    def done(self) -> int:
        """The highest offset such that every valid origin up to it is in all its targets; what the
        group `forward` commits. A stale or lost commit only costs repeated copies, which readers do
        not count.
        """
        owed = (lane.owed_from for lane in self._lanes.values())
        return min((at for at in owed if at is not None), default=self._following) - 1

    @property
    def owes(self) -> bool:
        """Whether an origin is not in all its targets yet."""
        return any(lane.owed_from is not None for lane in self._lanes.values())

    def add(self, at: Place, origin: Origin, links: Links) -> None:
        """A valid origin was read there."""
        if at.offset <= self.skipped:
            return
        for target, link in links.items():
            lane = self._lane(target)
            lane.add(Waiting(at, origin, link), self._limits.lane_max_bytes)
            self._note(target, lane)
        self.caught_up(at.offset)

    def _lane(self, target: int) -> Lane:
        lane = self._lanes.get(target)
        if lane is None:
            lane = self._lanes[target] = Lane()
        return lane

    def caught_up(self, offset: int) -> None:
        """Everything up to `offset` was read."""
        self._following = max(self._following, offset + 1)

    def skip(self, done: int) -> None:
        """Another owner has brought everything up to `done` to all targets; nothing left here
        yet.
        """
        self.skipped = max(self.skipped, done)
        self.caught_up(done)
        for lane in self._lanes.values():
            lane.skip(done, self._following)

    def take(self, limit: int) -> list[tuple[int, list[Copy]]]:
        """Copies to append now: for each target that has none under way its next `limit`."""
        idle, self._idle = self._idle, {}
        return [
            (target, lane.take(self.partition, limit)) for target, lane in idle.items() if lane.idle
        ]

    def acknowledged(self, target: int, count: int = 1) -> None:
        """A target has the oldest copies under way to it, durably."""
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
        """Where to read again from, for the lanes that are behind and have room; None: there are
        none.
        """
        self._behind = {
            target: lane for target, lane in self._behind.items() if lane.behind is not None
        }
        for lane in self._behind.values():
            lane.recalls = lane.wants_recall(self._limits.lane_max_bytes)
        return self.recalls_from

    @property
    def recalls_from(self) -> int | None:
        """The lowest offset that the reading under way is for; None: no lane takes anything."""
        starts = (lane.behind for lane in self._behind.values() if lane.recalls)
        return min((start for start in starts if start is not None), default=None)

    def recall(self, at: Place, origin: Origin, links: Links) -> None:
        """A valid origin was read again there."""
        for target, link in links.items():
            if lane := self._behind.get(target):
                lane.recall(Waiting(at, origin, link), self._limits.lane_max_bytes)
                self._note(target, lane)

    def recalls(self, offset: int) -> bool:
        """Whether to go on reading at `offset`, which is not below `recalls_from` as it was: a lane
        takes that. One that is behind by less than others, who are full for now, has its turn at
        the next reading.
        """
        return any(lane.recalls_at(offset) for lane in self._behind.values())

    def recalled(self, offset: int) -> None:
        """Everything up to `offset` was read again: a lane that took it all is behind no more,
        unless more was read meanwhile.
        """
        for lane in self._behind.values():
            lane.recalled(offset, self._following)

    def rewind(self, target: int, high: int) -> None:
        """A target lacks copies above `high`: forget what waits for it, and read that again."""
        lane = self._lane(target)
        lane.rewind(high + 1)
        self._note(target, lane)

    def leave_out(self, lowest: int, last: Mapping[int, Copied] | None) -> list[Lost]:
        """What is to be read again has been dropped by the log up to `lowest`, the position that it
        can be read from; `last` is the last origin for each target that may be among that, None:
        of no target that is known. Returns what is lost by that, as far as can be said.
        """
        lost = []
        for target, lane in self._behind.items():
            start = lane.behind
            if lane.recalls and start is not None and start <= lowest:
                if last is None or last.get(target, NOTHING).origin.offset >= start:
                    lost.append(Lost(target, start, lowest))
                lane.leave_out(lowest)
        return lost
