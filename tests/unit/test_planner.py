"""When control moves what: single steps, and a day of servers that come, go and flap."""

from __future__ import annotations

from random import Random

import pytest

from cecochat.domain.cluster.balance import Move
from cecochat.servers.control.planner import (
    DOUBTED_S,
    GRACE_S,
    HANDOVER_MAX_S,
    QUIET_MAX_S,
    QUIET_S,
    STAGE_MIN,
    Assignment,
    Decision,
    Planner,
)
from tests.unit.planner_world import BY, World, a_day


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


def test_what_may_have_been_given_back_unseen_has_its_time_again() -> None:
    """Another control server moved a stuck partition away and back, in versions 2 and 3."""
    planner = seeing("ab", "ab")
    planner.see_owned("a", set(), 0.0)
    planner.see_owned("b", {1}, 0.0)
    assert planner.overdue(HANDOVER_MAX_S) == {0: "a"}
    planner.see_assignment(Assignment(3, {0: "a", 1: "b"}, "test"), 11.0)
    assert planner.decide(11.0) is None
    assert planner.overdue(11.0 + HANDOVER_MAX_S) == {0: "a"}


def test_without_a_live_server_nothing_is_decided() -> None:
    planner = seeing("aabb", "ab")
    planner.see_live("", 10.0)
    assert planner.decide(100.0) is None
    assert not planner.waits(100.0)


# -- a day


@pytest.mark.parametrize(("partitions", "events"), [(60, 300), (256, 100), (4_096, 10)])
def test_a_day_of_servers_that_come_go_and_flap(rng: Random, partitions: int, events: int) -> None:
    world = World(rng, partitions, [Planner(partitions)])
    a_day(world, events)
    assert world.documents >= events / 10, "hardly anything was decided"


def test_a_day_with_two_control_servers_that_see_things_at_different_times(rng: Random) -> None:
    world = World(rng, 60, [Planner(60), Planner(60)], lag_max_s=1.0)
    a_day(world, events=150)
    assert world.conflicts == 0, "in this world each reads before it decides"
