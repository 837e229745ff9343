"""When to move which partitions: pure, told what is seen and what time it is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cecochat.domain import balance
from cecochat.domain.balance import URGENT, Move

GRACE_S = 0.5
"""From the first server that is gone to its failover: several deaths become one change, and one
that was only unregistered for a moment none."""

QUIET_S = 1.0
QUIET_MAX_S = 3.0
"""Servers that start together are waited for: until none came or went for QUIET_S, or that long."""

STAGE_MIN = 4
STAGE_PART = 8  # at most one eighth of all partitions is on its way between live servers

HANDOVER_MAX_S = 10.0
"""A new owner that has not said by then that it owns a partition is not waited for any more."""


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


class Planner:
    """What control does next. Times are of one monotonic clock, in s."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        self.live: frozenset[str] | None = None  # None: not seen yet
        self.assignment: Assignment | None = None
        self.under_way: dict[int, UnderWay] = {}
        self._changed_s = 0.0  # the live set, last
        self._restless_s: float | None = None  # the first change since it was last quiet
        self._lost_s: float | None = None  # since when partitions have no live owner

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
        for partition, target in assignment.owners.items():
            if before and before.owners.get(partition) != target:
                self.under_way[partition] = UnderWay(target, now_s)

    def see_owned(self, server_id: str, owned: Collection[int]) -> None:
        """That server says that it owns these."""
        for partition in owned:
            moving = self.under_way.get(partition)
            if moving and moving.target == server_id:
                del self.under_way[partition]

    def overdue(self, now_s: float) -> dict[int, str]:
        """Partition -> new owner of moves that took too long; they are not waited for any more."""
        late = {
            partition: moving.target
            for partition, moving in self.under_way.items()
            if now_s - moving.since_s >= HANDOVER_MAX_S
        }
        for partition in late:
            del self.under_way[partition]
        return late

    def lost(self) -> list[int]:
        """The partitions that have no live owner."""
        owners = self.assignment.owners if self.assignment else {}
        live = self.live or ()
        return [p for p in range(self.partitions) if owners.get(p) not in live]

    def waits(self, now_s: float) -> bool:
        """Whether time alone may bring the next decision."""
        if not self.live:
            return bool(self.under_way)
        return bool(self.under_way or self.lost()) or not self._quiet(now_s)

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
        if self.under_way or not balancing or not self._quiet(now_s):
            return None
        return self._balance()

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
        moves = [move for move in self._plan() if move.reason in URGENT]
        gone = sorted({move.source for move in moves if move.source})
        why = f"not live: {', '.join(gone)}" if gone else "partitions without an owner"
        return self._decision(moves, why)

    def _balance(self) -> Decision | None:
        """The next few of what would make it even."""
        assert self.assignment
        assert self.live
        if not balance.may_balance(
            self.assignment.owners, self.live, self.assignment.changed_by
        ) or not (moves := self._plan()):
            return None
        stage = moves[: max(STAGE_MIN, self.partitions // STAGE_PART)]
        return self._decision(stage, f"uneven: {len(stage)} of the {len(moves)} moves to balance")

    def _plan(self) -> list[Move]:
        assert self.assignment
        assert self.live
        return balance.plan(self.partitions, self.assignment.owners, self.live)

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
