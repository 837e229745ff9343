"""Decides when to move which partitions. This is pure: what is seen and the time are passed in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cecochat.domain.cluster import balance
from cecochat.domain.cluster.balance import URGENT, Move

GRACE_S = 0.5
"""How long to wait from the first dead server to the failover. Several deaths become one change,
and a server that was away for only a moment causes none.
"""

QUIET_S = 1.0
QUIET_MAX_S = 3.0
"""How long to wait for servers that start together: until none has come or gone for QUIET_S, but at
most QUIET_MAX_S.
"""

STAGE_MIN = 4
STAGE_PART = 8  # at most one eighth of all partitions moves between live servers at a time

HANDOVER_MAX_S = 10.0
"""How long to wait until a server says that it owns a partition that is assigned to it. After that
the partition goes to another server, one that does own what it was given.
"""

DOUBTED_S = 300.0
"""How long a server that did not take over gets no more partitions."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """The assignment in force, and the version that the next one has to follow."""

    version: int
    owners: Mapping[int, str]
    changed_by: str


class Decision(NamedTuple):
    """Moves to make, if the assignment still has the version `expected`."""

    expected: int
    moves: list[Move]
    owners: dict[int, str]  # after the moves
    why: str


class UnderWay(NamedTuple):
    """A partition whose new owner has not said yet that it owns it."""

    target: str
    since_s: float


class Situation(NamedTuple):
    """Everything that a plan depends on."""

    assignment: Assignment
    live: frozenset[str]
    closed: set[str]
    stuck: dict[int, str]


class Planner:
    """Decides what control does next. All times are of one monotonic clock, in s. It is called for
    every answer of every server, so a plan is computed again only if something has changed.
    """

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.live: frozenset[str] | None = None  # None: not seen yet
        self.assignment: Assignment | None = None
        self.under_way: dict[int, UnderWay] = {}
        self._assigned: dict[str, set[int]] = {}  # server -> its partitions in the assignment
        self._unowned = frozenset(range(partitions))  # assigned to nobody
        self._stuck: dict[int, str] = {}  # partition -> the server that did not take it over
        self._doubted: dict[str, float] = {}  # server -> since when it gets no more partitions
        self._changed_s = 0.0  # when the live servers changed last
        self._restless_s: float | None = None  # when they changed first after a quiet time
        self._lost_s: float | None = None  # since when partitions have no live owner
        self._planned: tuple[Situation, list[Move]] | None = None  # the last plan, and for what

    def see_live(self, live: Collection[str], now_s: float) -> None:
        """Take in which messaging servers are live."""
        if live == self.live:
            return
        if not self.live or self._restless_s is None:
            self._restless_s = now_s
        self.live, self._changed_s = frozenset(live), now_s

    def see_assignment(self, assignment: Assignment, now_s: float) -> None:
        """Take in the assignment in force, no matter who has written it. The partitions that it
        moves are under way from now on. If a version in between was not seen, those that were
        under way or stuck may have moved away and back, and are under way anew.
        """
        before = self.assignment
        skipped = before is not None and assignment.version > before.version + 1
        self.assignment = assignment
        self._assigned = balance.by_server(assignment.owners)
        self._unowned = frozenset(range(self.partitions)).difference(assignment.owners)
        for partition, target in assignment.owners.items():
            again = skipped and (partition in self.under_way or partition in self._stuck)
            if before and (before.owners.get(partition) != target or again):
                self.under_way[partition] = UnderWay(target, now_s)
                self._stuck.pop(partition, None)

    def see_owned(self, server_id: str, owned: Collection[int], now_s: float) -> None:
        """Take in that a server says that it owns these partitions and no others."""
        for partition in owned:
            moving = self.under_way.get(partition)
            if moving and moving.target == server_id:
                del self.under_way[partition]
            if self._stuck.get(partition) == server_id:
                del self._stuck[partition]
                self._doubted.pop(server_id, None)
        for partition in self._assigned.get(server_id, set()).difference(owned):
            if partition not in self._stuck:
                self.under_way.setdefault(partition, UnderWay(server_id, now_s))

    @property
    def awaited(self) -> set[str]:
        """The servers that have not said yet that they own all that is assigned to them."""
        return {moving.target for moving in self.under_way.values()} | {*self._stuck.values()}

    def overdue(self, now_s: float) -> dict[int, str]:
        """Return the partitions that were not taken over in time, and the servers that should have
        done it. These are not waited for any more: the partition moves if another server can take
        it.
        """
        self._trust_again(now_s)
        late = {
            partition: moving.target
            for partition, moving in self.under_way.items()
            if now_s - moving.since_s >= HANDOVER_MAX_S
        }
        for partition, target in late.items():
            del self.under_way[partition]
            self._stuck[partition] = target
            self._doubted[target] = now_s
        return late

    def _trust_again(self, now_s: float) -> None:
        """Wait once more for servers that are no longer doubted."""
        doubted = self.doubted(now_s)
        for partition, server in list(self._stuck.items()):
            if server not in doubted:
                del self._stuck[partition]
                self.under_way[partition] = UnderWay(server, now_s)

    def lost(self) -> list[int]:
        """Return the partitions that have no live owner."""
        gone = self._assigned.keys() - (self.live or ())
        return sorted(self._unowned.union(*(self._assigned[server] for server in gone)))

    def waits(self, now_s: float) -> bool:
        """Return whether time alone may bring the next decision."""
        if not self.live:
            return bool(self.under_way)
        return bool(self.under_way or self._stuck or self.lost()) or not self._quiet(now_s)

    def decide(self, now_s: float, *, balancing: bool = True) -> Decision | None:
        """Return what to write now, or None if there is nothing to do or no live server. Moves that
        are not urgent are made only if `balancing` is true.
        """
        if self.assignment is None or not self.live:
            return None
        if self._quiet(now_s):
            self._restless_s = None
        if lost := self.lost():
            return self._failover(len(lost), now_s)
        self._lost_s = None
        if stuck := self._movable(now_s):
            late = ", ".join(sorted(set(stuck.values())))
            return self._decision(self._urgent(now_s), f"did not take over: {late}")
        if self.under_way or not balancing or not self._quiet(now_s):
            return None
        return self._balance(now_s)

    def doubted(self, now_s: float) -> set[str]:
        """Return the live servers that did not take over lately."""
        doubted = {s for s, since_s in self._doubted.items() if now_s - since_s < DOUBTED_S}
        return doubted & (self.live or frozenset())

    def _movable(self, now_s: float) -> dict[int, str]:
        """Return the partitions that are stuck, if some other live server does own what it was
        given. If none does, the servers are not the reason, and moving would not help.
        """
        trusted = (self.live or frozenset()) - self.doubted(now_s)
        return self._stuck if self._stuck and any(map(self._owns_something, trusted)) else {}

    def _owns_something(self, server_id: str) -> bool:
        assigned = self._assigned.get(server_id)
        return not assigned or any(partition not in self.under_way for partition in assigned)

    def _failover(self, lost: int, now_s: float) -> Decision | None:
        """Move all partitions that nobody serves at once."""
        assert self.live
        if self._lost_s is None:
            self._lost_s = now_s
        if lost == self.partitions:  # a first start, or all were away: wait for all servers
            if not self._quiet(now_s):
                return None
        elif now_s - self._lost_s < GRACE_S:
            return None
        moves = self._urgent(now_s)
        gone = sorted({move.source for move in moves if move.source} - {*self.live})
        why = f"not live: {', '.join(gone)}" if gone else "partitions without an owner"
        return self._decision(moves, why)

    def _balance(self, now_s: float) -> Decision | None:
        """Make the next few moves towards an even assignment."""
        assert self.assignment
        assert self.live
        open_ = self.live - self.doubted(now_s)
        if not balance.may_balance(
            self.assignment.owners, open_, self.assignment.changed_by
        ) or not (moves := self._plan(now_s)):
            return None
        stage = moves[: max(STAGE_MIN, self.partitions // STAGE_PART)]
        return self._decision(stage, f"uneven: {len(stage)} of the {len(moves)} moves to balance")

    def _urgent(self, now_s: float) -> list[Move]:
        return [move for move in self._plan(now_s) if move.reason in URGENT]

    def _plan(self, now_s: float) -> list[Move]:
        assert self.assignment
        assert self.live
        stuck, doubted = dict(self._movable(now_s)), self.doubted(now_s)
        situation = Situation(self.assignment, self.live, doubted, stuck)
        if self._planned is None or self._planned[0] != situation:
            self._planned = situation, self._planned_for(situation)
        return self._planned[1]

    def _planned_for(self, situation: Situation) -> list[Move]:
        assignment, live, closed, stuck = situation
        free = {p: owner for p, owner in assignment.owners.items() if p not in stuck}
        return [
            move._replace(source=stuck[move.partition], reason="stuck")
            if move.partition in stuck
            else move
            for move in balance.plan(self.partitions, free, live, closed=closed)
        ]

    def _decision(self, moves: list[Move], why: str) -> Decision:
        assert self.assignment
        owners = balance.after(self.assignment.owners, moves)
        return Decision(self.assignment.version, moves, owners, why)

    def _quiet(self, now_s: float) -> bool:
        """Return whether servers have stopped coming and going, or were waited for long enough."""
        return (
            self._restless_s is None
            or now_s - self._changed_s >= QUIET_S
            or now_s - self._restless_s >= QUIET_MAX_S
        )
