"""How much work it is to decide, with as many partitions and servers as there can be."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from cecochat.domain.cluster.balance import after, by_server, plan
from cecochat.servers.control.planner import HANDOVER_MAX_S, Assignment, Planner
from tests.support.steps import steps_of

BY = "control/test"


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


def with_one_that_owns_nothing_and_none_that_does_yet(partitions: int, servers: int) -> Planner:
    """The others have their time to take over."""
    planner = with_one_that_owns_nothing(partitions, servers)
    for number in range(1, servers):
        planner.see_owned(f"m{number}", (), HANDOVER_MAX_S + 1.0)
    return planner


SITUATIONS = (
    at_rest,
    with_a_dead_server,
    with_one_that_owns_nothing,
    with_none_that_owns_anything,
    with_one_that_owns_nothing_and_none_that_does_yet,
)


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


def test_a_large_plan_moves_only_what_it_must(capsys: pytest.CaptureFixture[str]) -> None:
    servers = [f"messaging-{n:03}" for n in range(1_001)]
    owners = {p: servers[p % 1_000] for p in range(4_096)}
    begun_s = time.perf_counter()
    moves = plan(4_096, owners, servers[1:])
    took_ms = (time.perf_counter() - begun_s) * 1_000
    with capsys.disabled():
        print(f" [1,000 servers, 4,096 partitions: planned in {took_ms:.0f} ms] ", end="")
    assert {move.source for move in moves} == {servers[0]}
