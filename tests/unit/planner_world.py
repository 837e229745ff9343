"""A world in which servers come, go and flap, and one or more planners decide what moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from cecochat.domain.cluster.balance import plan
from cecochat.servers.control.planner import (
    DOUBTED_S,
    GRACE_S,
    HANDOVER_MAX_S,
    QUIET_MAX_S,
    STAGE_MIN,
    STAGE_PART,
    Assignment,
    Decision,
    Planner,
)

BY = "control/test"
DAY_S = 86_400.0
TICK_S = 0.1


@dataclass
class World:
    """Messaging servers, the document, and one or more control servers with late views."""

    rng: Random
    partitions: int
    planners: list[Planner]
    lag_max_s: float = 0.0  # until a control server sees a change
    now_s: float = 1_000.0
    version: int = 0
    by: str = ""
    owners: dict[int, str] = field(default_factory=dict)
    live: set[str] = field(default_factory=set)
    started: int = 0
    ended: set[str] = field(default_factory=set)
    under_way: dict[int, float] = field(default_factory=dict)  # partition -> since
    takes_over: dict[int, tuple[float, str]] = field(default_factory=dict)  # when, who
    owned: dict[str, set[int]] = field(default_factory=dict)
    served_by: dict[int, str] = field(default_factory=dict)
    views: list[tuple[float, int, frozenset[str]]] = field(default_factory=list)
    lost_since: dict[int, float] = field(default_factory=dict)
    alive_since_s: float = 0.0
    balanced: set[int] = field(default_factory=set)  # moved for balance since others changed it
    doubted: set[str] = field(default_factory=set)  # servers that get nothing more, by one planner
    gave_up: int = 0  # moves away from who did not take over
    documents: int = 0
    conflicts: int = 0

    # what happens

    def join(self, server: str | None = None) -> None:
        self.started += 1
        server = server or f"m{self.started}"
        self.owned.setdefault(server, set())
        self._members(self.live | {server})

    def leave(self, server: str) -> None:
        """It ends."""
        self.ended.add(server)
        self._members(self.live - {server})

    def flap(self, server: str) -> None:
        """It is not seen for a moment, and goes on meanwhile."""
        self._members(self.live - {server})
        self.run(self.rng.uniform(0.05, 4.0))
        self.join(server)

    def move_by_hand(self) -> None:
        """A person moves one; it stays until membership changes."""
        self._put(self.version, {**self.owners, 0: self.rng.choice(sorted(self.live))}, "bob")
        self.balanced.clear()  # what is even may be something else now

    def _members(self, live: set[str]) -> None:
        if not self.live:
            self.alive_since_s = self.now_s
        self.live = live
        self.balanced.clear()
        for number in range(len(self.planners)):
            at_s = self.now_s + self.rng.uniform(0, self.lag_max_s)
            at_s = max([at_s, *(view[0] for view in self.views if view[1] == number)])
            self.views.append((at_s, number, frozenset(live)))
        self._note_lost()

    def _note_lost(self) -> None:
        lost = {p for p in range(self.partitions) if self.owners.get(p) not in self.live}
        self.lost_since = {p: self.lost_since.get(p, self.now_s) for p in lost}

    # time

    def run(self, for_s: float) -> None:
        """Until then, or longer where nothing waits: from tick to tick."""
        until_s = self.now_s + for_s
        while self.now_s < until_s:
            self._views_arrive()
            self._servers_take_over()
            for planner in self.planners:
                self._control(planner)
            self._check_failover()
            self.now_s = self.now_s + TICK_S if self._is_busy() else until_s

    def _is_busy(self) -> bool:
        return bool(
            self.views or self.takes_over or any(p.waits(self.now_s) for p in self.planners)
        )

    def _views_arrive(self) -> None:
        for view in [view for view in self.views if view[0] <= self.now_s]:
            self.views.remove(view)
            self.planners[view[1]].see_live(view[2], self.now_s)

    def _servers_take_over(self) -> None:
        for partition, (at_s, server) in list(self.takes_over.items()):
            if server in self.ended:
                del self.takes_over[partition]
            elif at_s <= self.now_s:
                del self.takes_over[partition]
                self.owned.get(self.served_by.get(partition, ""), set()).discard(partition)
                self.served_by[partition] = server
                self.owned[server].add(partition)
                self.under_way.pop(partition, None)
        for planner in self.planners:
            for server in planner.awaited & self.live:
                planner.see_owned(server, self.owned[server], self.now_s)

    def _control(self, planner: Planner) -> None:
        known = planner.assignment.version if planner.assignment else -1
        if known < self.version or known < 0:
            document = Assignment(self.version, dict(self.owners), self.by)
            planner.see_assignment(document, self.now_s)
        planner.overdue(self.now_s)
        if (doubted := planner.doubted(self.now_s)) != self.doubted:
            self.doubted = doubted
            self.balanced.clear()
        if decision := planner.decide(self.now_s):
            if decision.expected != self.version:
                self.conflicts += 1
                return
            self._check(decision)
            self._put(decision.expected, decision.owners, BY)

    def _put(self, expected: int, owners: Mapping[int, str], by: str) -> None:
        assert expected == self.version
        for partition, server in owners.items():
            if self.owners.get(partition) == server:
                continue
            if self.served_by.get(partition) == server:  # it has not lost it yet
                self.takes_over.pop(partition, None)
                self.under_way.pop(partition, None)
            else:
                self.under_way[partition] = self.now_s
                slow = self.rng.random() < 0.6 / self.partitions  # longer than control waits
                delay_s = 30.0 if slow else self.rng.uniform(0.05, 1.5)
                self.takes_over[partition] = (self.now_s + delay_s, server)
        self.version, self.owners, self.by = self.version + 1, dict(owners), by
        self.documents += 1
        self._note_lost()

    # what must hold

    def _check(self, decision: Decision) -> None:
        stage = max(STAGE_MIN, self.partitions // STAGE_PART)
        improving = [move for move in decision.moves if move.reason == "balance"]
        stuck = [move for move in decision.moves if move.reason == "stuck"]
        for move in stuck:
            if move.source not in self.live:  # it may have taken over at last, and told nobody
                continue
            assert self.now_s - self.under_way[move.partition] >= HANDOVER_MAX_S, "in time"
        self.gave_up += len(stuck)
        assert len(improving) in (0, len(decision.moves)), "failover waits for nothing"
        assert len(improving) <= stage
        for move in improving:
            since_s = self.under_way.get(move.partition)
            assert since_s is None or self.now_s - since_s >= HANDOVER_MAX_S, "two moves of one"
            assert move.partition not in self.balanced or len(self.planners) > 1, "oscillates"
            self.balanced.add(move.partition)

    def _check_failover(self) -> None:
        if self.live and self.lost_since:
            late_s = self.now_s - max(min(self.lost_since.values()), self.alive_since_s)
            bound_s = QUIET_MAX_S + GRACE_S + self.lag_max_s + 3 * TICK_S  # given to one that left
            assert late_s < bound_s, self.lost_since

    def check_at_rest(self) -> None:
        """Nothing is under way: even but for what a person did, and it stays so."""
        before = -1
        while before != self.documents:
            before = self.documents
            for _ in range(3):  # each looks once, and on while something waits
                self.run(DOUBTED_S)
        documents = self.documents
        self.run(60.0)
        assert self.documents == documents
        assert not self.lost_since
        if self.by == BY:
            assert plan(self.partitions, self.owners, self.live) == []


def a_day(world: World, events: int) -> None:
    rng = world.rng
    for _ in range(rng.randint(1, 12)):
        world.join()
        world.run(rng.uniform(0, 1.0))
    for number in range(events):
        world.run(rng.choice([0.0, 0.3, 2.0, 30.0, DAY_S / events]))
        live = sorted(world.live)
        match rng.choice(["join", "leave", "flap", "flap", "hand", "restart"]):
            case "join" if len(live) < 20:
                world.join()
            case "leave" if len(live) > 1:
                world.leave(rng.choice(live))
            case "flap":
                world.flap(rng.choice(live))
            case "hand":
                world.move_by_hand()
            case "restart" if len(live) > 1:
                world.leave(rng.choice(live))
                world.run(rng.uniform(0.0, 2.0))
                world.join()
        if number % 10 == 9:
            world.run(60.0)
            world.check_at_rest()
