"""When control moves what: single steps, and a day of servers that come, go and flap."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

import pytest

from cecochat.control.planner import (
    DOUBTED_S,
    GRACE_S,
    HANDOVER_MAX_S,
    QUIET_MAX_S,
    QUIET_S,
    STAGE_MIN,
    STAGE_PART,
    Assignment,
    Decision,
    Planner,
)
from cecochat.domain.balance import Move, after, by_server, plan
from tests.support.steps import steps_of

BY = "control/test"
DAY_S = 86_400.0
TICK_S = 0.1


def seeing(owners: str, live: str, by: str = BY) -> Planner:
    """A planner that is at rest with these: partition 0 belongs to the first letter."""
    planner = Planner(len(owners))
    planner.see_live(live, 0.0)
    planner.see_assignment(Assignment(1, dict(enumerate(owners)), by), 0.0)
    assert planner.decide(5.0) is None
    return planner


def write(planner: Planner, decision: Decision, now_s: float, by: str = BY) -> None:
    planner.see_assignment(Assignment(decision.expected + 1, decision.owners, by), now_s)


def decided(planner: Planner, now_s: float) -> Decision:
    decision = planner.decide(now_s)
    assert decision
    return decision


def test_a_dead_server_fails_over_after_the_grace_and_all_at_once() -> None:
    planner = seeing("aabbcc", "abc")
    planner.see_live("ab", 10.0)
    assert planner.decide(10.0) is None
    assert planner.decide(10.0 + GRACE_S - 0.01) is None
    decision = decided(planner, 10.0 + GRACE_S)
    assert (decision.expected, decision.why) == (1, "not live: c")
    assert decision.moves == [Move(4, "c", "a", "failover"), Move(5, "c", "b", "failover")]


def test_several_deaths_are_one_change() -> None:
    planner = seeing("abcd", "abcd")
    planner.see_live("abc", 10.0)
    assert planner.decide(10.0) is None
    planner.see_live("ab", 10.4)
    assert decided(planner, 10.5).why == "not live: c, d"


def test_a_server_that_is_gone_for_a_moment_keeps_its_partitions() -> None:
    planner = seeing("aabb", "ab")
    planner.see_live("a", 10.0)
    assert planner.decide(10.0) is None
    planner.see_live("ab", 10.3)
    assert planner.decide(10.3) is None
    planner.see_live("a", 10.6)
    assert planner.decide(10.6) is None, "the grace starts anew"
    assert planner.decide(10.6 + GRACE_S)


def test_a_first_start_waits_for_servers_that_start_together() -> None:
    planner = Planner(6)
    planner.see_assignment(Assignment(0, {}, ""), 100.0)
    planner.see_live("", 100.0)
    assert planner.decide(104.0) is None
    for number, live in enumerate(("a", "ab", "abc")):
        now_s = 105.0 + number * 0.9
        planner.see_live(live, now_s)
        assert planner.decide(now_s) is None
    assert planner.decide(106.8 + QUIET_S - 0.01) is None
    decision = decided(planner, 106.8 + QUIET_S)
    assert decision.owners == dict(enumerate("aabbcc"))
    assert {move.reason for move in decision.moves} == {"unowned"}


def test_a_first_start_does_not_wait_for_ever() -> None:
    planner = Planner(2)
    planner.see_assignment(Assignment(0, {}, ""), 0.0)
    now_s, live = 100.0, ""
    while planner.decide(now_s) is None:
        live += chr(ord("a") + len(live))
        planner.see_live(live, now_s)
        now_s += 0.5
    assert now_s == 100.0 + QUIET_MAX_S


def test_a_join_moves_a_few_at_a_time_each_after_the_new_owner_has_them() -> None:
    planner = seeing("a" * 16, "a")
    planner.see_live("ab", 10.0)
    assert planner.decide(10.0 + QUIET_S - 0.01) is None
    first = decided(planner, 11.0)
    assert len(first.moves) == STAGE_MIN
    assert first.why == "uneven: 4 of the 8 moves to balance"
    write(planner, first, 11.0)
    moved = [move.partition for move in first.moves]
    assert sorted(planner.under_way) == moved
    planner.see_owned("b", moved[:-1], 11.5)
    planner.see_owned("a", range(16), 11.5)
    assert planner.decide(12.0) is None, "one is under way"
    planner.see_owned("b", moved, 11.5)
    second = decided(planner, 12.0)
    write(planner, second, 12.0)
    planner.see_owned("b", [*moved, *(move.partition for move in second.moves)], 12.5)
    assert planner.decide(13.0) is None
    assert not planner.waits(13.0)


def test_what_a_live_server_does_not_take_over_goes_to_another_one() -> None:
    planner = seeing("a" * 16, "a")
    planner.see_live("ab", 10.0)
    first = decided(planner, 11.0)
    write(planner, first, 11.0)
    late_s = 11.0 + HANDOVER_MAX_S
    assert planner.overdue(late_s - 0.01) == {}
    assert planner.decide(late_s) is None
    assert planner.overdue(late_s) == {m.partition: "b" for m in first.moves}
    back = decided(planner, late_s)
    assert back.why == "did not take over: b"
    assert back.moves == [m._replace(source="b", target="a", reason="stuck") for m in first.moves]
    write(planner, back, late_s)
    planner.see_owned("a", range(16), late_s + 1)
    assert planner.decide(late_s + 2) is None, "b gets nothing more for a while"
    again = decided(planner, late_s + DOUBTED_S)
    assert {move.target for move in again.moves} == {"b"}


def test_a_server_that_no_longer_owns_what_it_was_given_is_given_up_too() -> None:
    planner = seeing("aabbcc", "abc")
    planner.see_owned("a", {0}, 20.0)
    planner.see_owned("a", {0}, 25.0)
    assert planner.overdue(20.0 + HANDOVER_MAX_S) == {1: "a"}
    assert decided(planner, 30.0).moves == [Move(1, "a", "b", "stuck")]


def test_where_no_server_owns_anything_none_of_them_is_at_fault() -> None:
    """As while the log is away."""
    planner = seeing("aabb", "ab")
    planner.see_owned("a", (), 20.0)
    planner.see_owned("b", (), 24.0)
    assert planner.overdue(30.0) == {0: "a", 1: "a"}
    assert planner.decide(30.0) is None
    assert planner.overdue(34.0) == {2: "b", 3: "b"}
    assert planner.decide(34.0) is None
    planner.see_owned("b", {2, 3}, 40.0)
    assert {move.target for move in decided(planner, 40.0).moves} == {"b"}
    planner.see_owned("a", {0, 1}, 40.0)
    assert planner.decide(40.0) is None


def test_what_a_dead_server_leaves_is_not_given_to_one_that_does_not_take_over() -> None:
    planner = seeing("aabbccdd", "abcd")
    planner.see_owned("a", {0}, 20.0)
    planner.overdue(30.0)
    write(planner, decided(planner, 30.0), 30.0)
    planner.see_live("abc", 31.0)
    assert planner.decide(31.0) is None
    dead = decided(planner, 31.0 + GRACE_S)
    assert {(move.source, move.target) for move in dead.moves} <= {("d", "b"), ("d", "c")}


def test_a_death_interrupts_a_join() -> None:
    planner = seeing("a" * 8 + "c" * 8, "ac")
    planner.see_live("abc", 10.0)
    write(planner, decided(planner, 11.0), 11.0)
    planner.see_live("ab", 11.1)
    assert planner.decide(11.1) is None
    decision = decided(planner, 11.1 + GRACE_S)
    assert {move.source for move in decision.moves} == {"c"}


def test_what_a_person_assigned_stays_until_membership_changes() -> None:
    planner = seeing("aaab", "ab", by="bob")
    assert planner.decide(100.0) is None
    assert not planner.waits(100.0)
    planner.see_live("abc", 200.0)
    assert decided(planner, 200.0 + QUIET_S).moves == [Move(2, "a", "c", "balance")]


def test_without_a_live_server_nothing_is_decided() -> None:
    planner = seeing("aabb", "ab")
    planner.see_live("", 10.0)
    assert planner.decide(100.0) is None
    assert not planner.waits(100.0)


# -- how much work it is


def at_rest(partitions: int, servers: int) -> Planner:
    """A planner of many servers that own what they were given."""
    planner = Planner(partitions)
    live = {f"m{number}" for number in range(servers)}
    planner.see_live(live, 0.0)
    planner.see_assignment(Assignment(1, after({}, plan(partitions, {}, live)), BY), 0.0)
    return planner


def with_a_dead_server(partitions: int, servers: int) -> Planner:
    planner = at_rest(partitions, servers)
    planner.see_live({f"m{number}" for number in range(1, servers)}, 0.0)
    planner.decide(0.0)
    return planner


def with_one_that_owns_nothing(partitions: int, servers: int) -> Planner:
    """It did not take over what it was given."""
    planner = at_rest(partitions, servers)
    planner.see_owned("m0", (), 0.0)
    planner.overdue(HANDOVER_MAX_S)
    return planner


def with_none_that_owns_anything(partitions: int, servers: int) -> Planner:
    """As while the log is away."""
    planner = at_rest(partitions, servers)
    for number in range(servers):
        planner.see_owned(f"m{number}", (), 0.0)
    planner.overdue(HANDOVER_MAX_S)
    return planner


SITUATIONS = (at_rest, with_a_dead_server, with_one_that_owns_nothing, with_none_that_owns_anything)


def look_and_hear_all(planner: Planner, now_s: float) -> None:
    """What control does at each tick, and what it hears from each server, now and then."""
    assert planner.live
    assert planner.assignment
    planner.overdue(now_s)
    planner.lost()
    planner.decide(now_s)
    planner.waits(now_s)
    owned = by_server(planner.assignment.owners)
    for server in sorted(planner.live):
        planner.see_owned(server, (), now_s)
    for server in sorted(planner.live):
        planner.see_owned(server, owned[server], now_s)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_four_times_as_large_is_hardly_more_than_four_times_the_work(
    situation: Callable[[int, int], Planner],
) -> None:
    small, large = situation(1_024, 256), situation(4_096, 1_024)
    few = steps_of(lambda: look_and_hear_all(small, 20.0))
    assert steps_of(lambda: look_and_hear_all(large, 20.0)) < 5 * few


@pytest.mark.parametrize("situation", [at_rest, with_none_that_owns_anything])
def test_where_nothing_has_changed_nothing_is_planned_again(
    situation: Callable[[int, int], Planner],
) -> None:
    """Control looks ten times a second while something waits."""
    planner = situation(4_096, 10)
    assert planner.decide(20.0) is None
    assert steps_of(lambda: planner.decide(20.1)) < 1_000


# -- a day


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
    balanced: set[int] = field(default_factory=set)  # moved for balance among the same servers
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
            assert late_s < QUIET_MAX_S + self.lag_max_s + 3 * TICK_S, self.lost_since

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


@pytest.mark.parametrize(("partitions", "events"), [(60, 300), (256, 100), (4_096, 10)])
def test_a_day_of_servers_that_come_go_and_flap(rng: Random, partitions: int, events: int) -> None:
    world = World(rng, partitions, [Planner(partitions)])
    a_day(world, events)
    assert world.documents >= events / 10, "hardly anything was decided"


def test_a_day_with_two_control_servers_that_see_things_at_different_times(rng: Random) -> None:
    world = World(rng, 60, [Planner(60), Planner(60)], lag_max_s=1.0)
    a_day(world, events=150)
    assert world.conflicts == 0, "in this world each reads before it decides"


def test_a_large_plan_moves_only_what_it_must(capsys: pytest.CaptureFixture[str]) -> None:
    servers = [f"messaging-{n:03}" for n in range(1_001)]
    owners = {p: servers[p % 1_000] for p in range(4_096)}
    begun_s = time.perf_counter()
    moves = plan(4_096, owners, servers[1:])
    took_ms = (time.perf_counter() - begun_s) * 1_000
    with capsys.disabled():
        print(f" [1,000 servers, 4,096 partitions: planned in {took_ms:.0f} ms] ", end="")
    assert {move.source for move in moves} == {servers[0]}
