"""The plan of an assignment: laws, and the fewest moves as an exhaustive search finds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.cluster.balance import Move, after, grouped, may_balance, plan, ranges, why

SERVERS = "abcdefgh"
live_sets = st.sets(st.sampled_from(SERVERS[:6]), min_size=1)


@st.composite
def assigned(draw: st.DrawFn, most: int = 40) -> tuple[int, dict[int, str]]:
    """A partition count, and owners of some of them, some of these dead."""
    count = draw(st.integers(1, most))
    owners = draw(st.lists(st.sampled_from([*SERVERS, None]), min_size=count, max_size=count))
    return count, {p: owner for p, owner in enumerate(owners) if owner}


def counts(owners: Mapping[int, str], live: Collection[str]) -> list[int]:
    held = Counter(owners.values())
    assert held.keys() <= set(live)
    return [held[server] for server in live]


def uneven(owners: Mapping[int, str], live: Collection[str]) -> int:
    """The lower the more even; for a given sum its minimum is where no move helps."""
    return sum(count * count for count in counts(owners, live))


# -- laws


@given(assigned(), live_sets)
def test_every_partition_gets_a_live_server_and_counts_differ_by_one(
    given_: tuple[int, dict[int, str]], live: set[str]
) -> None:
    count, owners = given_
    result = after(owners, plan(count, owners, live))
    assert result.keys() == set(range(count))
    held = counts(result, live)
    assert max(held) - min(held) <= 1


@given(assigned(), live_sets)
def test_the_plan_of_its_result_is_empty(
    given_: tuple[int, dict[int, str]], live: set[str]
) -> None:
    count, owners = given_
    moves = plan(count, owners, live)
    assert plan(count, after(owners, moves), live) == []
    assert plan(count, dict(reversed(owners.items())), sorted(live, reverse=True)) == moves


@given(st.data(), assigned(), live_sets)
def test_closed_servers_keep_what_they_have_and_the_others_are_even(
    data: st.DataObject, given_: tuple[int, dict[int, str]], live: set[str]
) -> None:
    count, owners = given_
    closed = data.draw(st.sets(st.sampled_from(sorted(live))))
    moves = plan(count, owners, live, closed=closed)
    result = after(owners, moves)
    assert plan(count, result, live, closed=closed) == []
    if closed == live:
        assert moves == plan(count, owners, live)
        return
    for server in closed:
        assert {p for p in result if result[p] == server} == {
            p for p in owners if owners[p] == server
        }
    held = [list(result.values()).count(server) for server in live - closed]
    assert max(held) - min(held) <= 1
    assert result.keys() == set(range(count))


@given(st.data())
def test_no_search_finds_a_more_even_assignment_or_fewer_moves(data: st.DataObject) -> None:
    count, owners = data.draw(assigned(most=6))
    live = sorted(data.draw(st.sets(st.sampled_from("abc"), min_size=1)))
    found = []
    for servers in product(live, repeat=count):
        possible = dict(enumerate(servers))
        moved = sum(owners.get(p) != server for p, server in possible.items())
        found.append((uneven(possible, live), moved))
    moves = plan(count, owners, live)
    assert (uneven(after(owners, moves), live), len(moves)) == min(found)


@given(st.integers(1, 60), st.lists(live_sets, min_size=1, max_size=8))
def test_who_leaves_moves_only_its_own_and_who_joins_only_receives(
    count: int, sets: list[set[str]]
) -> None:
    live = sets[0]
    owners = after({}, plan(count, {}, live))
    for then in sets[1:]:
        moves = plan(count, owners, then)
        if then < live:
            assert {move.source for move in moves} <= live - then
            assert {move.reason for move in moves} <= {"failover"}
        if then > live:
            assert {move.target for move in moves} <= then - live
            assert {move.reason for move in moves} <= {"balance"}
        owners, live = after(owners, moves), then


@given(assigned(), live_sets, st.integers(1, 5))
def test_in_stages_it_comes_to_the_same_number_of_moves(
    given_: tuple[int, dict[int, str]], live: set[str], stage: int
) -> None:
    count, owners = given_
    total = len(plan(count, owners, live))
    made = 0
    while moves := plan(count, owners, live)[:stage]:
        made += len(moves)
        owners = after(owners, moves)
    assert made == total


@given(assigned(), live_sets)
def test_the_dead_and_unowned_alone_leave_the_rest_of_the_plan(
    given_: tuple[int, dict[int, str]], live: set[str]
) -> None:
    count, owners = given_
    moves = plan(count, owners, live)
    urgent = [move for move in moves if move.reason in ("failover", "unowned")]
    assert {m.partition for m in urgent} == {p for p in range(count) if owners.get(p) not in live}
    rest = plan(count, after(owners, urgent), live)
    assert len(rest) == len(moves) - len(urgent)


@given(assigned())
def test_without_a_live_server_it_stays_as_it_is(given_: tuple[int, dict[int, str]]) -> None:
    count, owners = given_
    assert plan(count, owners, set()) == []


# -- examples


def test_a_dead_server_is_spread_over_the_others() -> None:
    owners = dict(enumerate("aabbcc"))
    assert plan(6, owners, "ab") == [
        Move(4, "c", "a", "failover"),
        Move(5, "c", "b", "failover"),
    ]


def test_a_new_server_gets_its_share_from_each() -> None:
    owners = dict(enumerate("aaabbb"))
    assert plan(6, owners, "abc") == [Move(2, "a", "c", "balance"), Move(5, "b", "c", "balance")]


def test_what_nobody_had_goes_to_who_has_the_least() -> None:
    assert plan(3, {0: "a", 1: "a"}, "ab") == [Move(2, None, "b", "unowned")]


def test_what_a_person_assigned_stays_until_a_server_leaves_or_joins() -> None:
    uneven_ = dict(enumerate("aaab"))
    assert not may_balance(uneven_, {"a", "b"}, "bob")
    assert may_balance(uneven_, {"a", "b"}, "control/control-1")
    assert may_balance(uneven_, {"a", "b", "c"}, "bob")


@pytest.mark.parametrize(
    ("partitions", "text"),
    [([], ""), ([7], "7"), ([0, 1, 2], "0-2"), ([9, 0, 1, 3], "0-1, 3, 9"), (range(60), "0-59")],
)
def test_ranges_are_written_as_people_do(partitions: Collection[int], text: str) -> None:
    assert ranges(partitions) == text


def test_moves_are_grouped_with_their_reason() -> None:
    moves = plan(8, dict(enumerate("aaaaabxx")), "ab")
    assert [(ranges(group.partitions), why(group)) for group in grouped(moves)] == [
        ("4", "b has fewer than a"),
        ("6-7", "x is not live"),
    ]
