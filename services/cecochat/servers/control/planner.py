"""When to move which partitions: pure, told what is seen and what time it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cecochat.domain.cluster import balance
from cecochat.domain.cluster.balance import URGENT, Move

GRACE_S = 0.5
"""From the first server that is gone to its failover: several deaths become one change, and one
that was only unregistered for a moment none."""

QUIET_S = 1.0
QUIET_MAX_S = 3.0
"""Servers that start together are waited for: until none came or went for QUIET_S, or that long."""

STAGE_MIN = 4
STAGE_PART = 8  # at most one eighth of all partitions is on its way between live servers

HANDOVER_MAX_S = 10.0
"""A server that has not said by then that it owns a partition which is assigned to it is not waited
for any more: the partition goes to another one that owns what it was given.
"""

DOUBTED_S = 300.0
"""For so long a server that did not take over gets nothing more."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """The document in force, and the version that the next one has to follow."""

    version: int
    owners: Mapping[int, str]
    changed_by: str


class Decision(NamedTuple):
    """Make these moves, if the assignment is still of that version."""

    expected: int
    moves: list[Move]
    owners: dict[int, str]  # after them
    why: str


class UnderWay(NamedTuple):
    """A partition whose new owner has not said yet that it owns it."""

    target: str
    since_s: float


class Situation(NamedTuple):
    """All that a plan depends on."""

    assignment: Assignment
    live: frozenset[str]
    closed: set[str]
    stuck: dict[int, str]


class Planner:
    """What control does next. Times are of one monotonic clock, in s. It is asked at every answer
    of every server, so only what has changed is worked out again.
    """

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.live: frozenset[str] | None = None  # None: not seen yet
        self.assignment: Assignment | None = None
        self.under_way: dict[int, UnderWay] = {}
        self._given: dict[str, set[int]] = {}  # the assignment by server
        self._unowned = frozenset(range(partitions))  # what it gives nobody
        self._stuck: dict[int, str] = {}  # partition -> who was given it and did not take it over
        self._doubted: dict[str, float] = {}  # server -> since when it gets nothing more
        self._changed_s = 0.0  # the live set, last
        self._restless_s: float | None = None  # the first change since it was last quiet
        self._lost_s: float | None = None  # since when partitions have no live owner
        self._planned: tuple[Situation, list[Move]] | None = None  # the last plan, and for what

    def see_live(self, live: Collection[str], now_s: float) -> None:
        """These messaging servers are live."""
        if live == self.live:
            return
        if not self.live or self._restless_s is None:
            self._restless_s = now_s
        self.live, self._changed_s = frozenset(live), now_s

    def see_assignment(self, assignment: Assignment, now_s: float) -> None:
        """This is in force, whoever has written it: partitions that it moves are under way."""
        before = self.assignment
        self.assignment = assignment
        self._given = balance.by_server(assignment.owners)
        self._unowned = frozenset(range(self.partitions)).difference(assignment.owners)
        for partition, target in assignment.owners.items():
            if before and before.owners.get(partition) != target:
                self.under_way[partition] = UnderWay(target, now_s)
                self._stuck.pop(partition, None)

    def see_owned(self, server_id: str, owned: Collection[int], now_s: float) -> None:
        """That server says that it owns these, and nothing else."""
        for partition in owned:
            moving = self.under_way.get(partition)
            if moving and moving.target == server_id:
                del self.under_way[partition]
            if self._stuck.get(partition) == server_id:
                del self._stuck[partition]
                self._doubted.pop(server_id, None)
        for partition in self._given.get(server_id, set()).difference(owned):
            if partition not in self._stuck:
                self.under_way.setdefault(partition, UnderWay(server_id, now_s))

    @property
    def awaited(self) -> set[str]:
        """The servers that have not said yet that they own all that is assigned to them."""
        return {moving.target for moving in self.under_way.values()} | {*self._stuck.values()}

    def overdue(self, now_s: float) -> dict[int, str]:
        """Partition -> server that it is assigned to and that did not take it over in time; it is
        not waited for any more, and the partition is to move where another server can take it.
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
        """Who is no longer doubted has its time once more."""
        doubted = self.doubted(now_s)
        for partition, server in list(self._stuck.items()):
            if server not in doubted:
                del self._stuck[partition]
                self.under_way[partition] = UnderWay(server, now_s)

    def lost(self) -> list[int]:
        """The partitions that have no live owner."""
        gone = self._given.keys() - (self.live or ())
        return sorted(self._unowned.union(*(self._given[server] for server in gone)))

    def waits(self, now_s: float) -> bool:
        """Whether time alone may bring the next decision."""
        if not self.live:
            return bool(self.under_way)
        return bool(self.under_way or self._stuck or self.lost()) or not self._quiet(now_s)

    def decide(self, now_s: float, *, balancing: bool = True) -> Decision | None:
        """What to write now, if anything; nothing without a live server. `balancing`: also what is
        not urgent.
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
        """Live servers that did not take over, not long ago."""
        doubted = {s for s, since_s in self._doubted.items() if now_s - since_s < DOUBTED_S}
        return doubted & (self.live or frozenset())

    def _movable(self, now_s: float) -> dict[int, str]:
        """What is stuck, while some other live server owns what it was given: where none does, it
        is not the servers that fail.
        """
        trusted = (self.live or frozenset()) - self.doubted(now_s)
        return self._stuck if self._stuck and any(map(self._owns_something, trusted)) else {}

    def _owns_something(self, server_id: str) -> bool:
        mine = self._given.get(server_id)
        return not mine or any(partition not in self.under_way for partition in mine)

    def _failover(self, lost: int, now_s: float) -> Decision | None:
        """All that nobody serves, at once."""
        assert self.live
        if self._lost_s is None:
            self._lost_s = now_s
        if lost == self.partitions:  # a first start, or all were away: a balanced one
            if not self._quiet(now_s):
                return None
        elif now_s - self._lost_s < GRACE_S:
            return None
        moves = self._urgent(now_s)
        gone = sorted({move.source for move in moves if move.source} - {*self.live})
        why = f"not live: {', '.join(gone)}" if gone else "partitions without an owner"
        return self._decision(moves, why)

    def _balance(self, now_s: float) -> Decision | None:
        """The next few of what would make it even."""
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
        """Whether servers have stopped coming and going, or were waited for long enough."""
        return (
            self._restless_s is None
            or now_s - self._changed_s >= QUIET_S
            or now_s - self._restless_s >= QUIET_MAX_S
        )
