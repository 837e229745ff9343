"""How many servers a set should have: laws, and a day of load with failures."""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from cecochat.domain.cluster.scaling import (
    HEADROOM,
    LASTING_S,
    Load,
    Observed,
    Policy,
    Scaler,
    Scaling,
    Strain,
)

POLICY = Policy(min=2, max=10, cooldown_s=60)


class Made(Scaler):
    """What it decides is done at once."""

    @override
    def decide(self, observed: Observed, policy: Policy, now_s: float) -> Scaling | None:
        if scaling := super().decide(observed, policy, now_s):
            self.changed(now_s, scaling.to)
        return scaling


def sessions(total: float) -> tuple[Load, ...]:
    return (Load("sessions", total, 100),)


def observed(wanted: int, total: float, **more: object) -> Observed:
    return Observed(**{"wanted": wanted, "live": wanted, "loads": sessions(total), **more})  # type: ignore[arg-type]


def test_it_grows_at_once_to_what_the_load_takes() -> None:
    scaling = Made().decide(observed(2, 450), POLICY, 0)
    assert scaling == Scaling(5, "2 would carry 225 sessions each, against 100")


def test_it_shrinks_one_at_a_time_after_a_while_and_only_with_room_to_spare() -> None:
    scaler = Made()
    assert scaler.decide(observed(5, 200), POLICY, 0) is None
    assert scaler.decide(observed(5, 200), POLICY, 59) is None
    scaling = scaler.decide(observed(5, 200), POLICY, 60)
    assert scaling == Scaling(4, "4 would carry 50 sessions each, against 100")
    assert scaler.decide(observed(4, 200), POLICY, 119) is None
    assert scaler.decide(observed(4, 200), POLICY, 121) is None, "low for a while, again"
    assert scaler.decide(observed(4, 200), POLICY, 181) == Scaling(
        3, "3 would carry 66.67 sessions each, against 100"
    )
    for now_s in (300, 400):
        assert scaler.decide(observed(3, 200), POLICY, now_s) is None


def test_a_strain_brings_one_more_and_keeps_from_shrinking() -> None:
    scaler = Made()
    behind = observed(3, 0, strains=(Strain("records behind", 30_000, 20_000),))
    assert scaler.decide(behind, POLICY, 0) is None
    assert scaler.decide(behind, POLICY, LASTING_S - 1) is None
    scaling = scaler.decide(behind, POLICY, LASTING_S)
    assert scaling == Scaling(4, "records behind is 3e+04, over 2e+04")
    for now_s in range(60, 600, 10):
        strains = (Strain("records behind", 15_000, 20_000),)
        assert scaler.decide(observed(4, 0, strains=strains), POLICY, now_s) is None


def test_a_strain_that_does_not_last_is_none() -> None:
    scaler = Made()
    for now_s in range(0, 1_000, 5):
        value = 10_000 if now_s % 15 == 0 else 30_000
        strains = (Strain("records behind", value, 20_000),)
        assert scaler.decide(observed(3, 250, strains=strains), POLICY, now_s) is None


@pytest.mark.parametrize(
    "unsure",
    [{"live": 2}, {"complete": False}, {"loads": ()}],
    ids=["missing", "unseen", "no load"],
)
def test_what_is_not_known_shrinks_nothing(unsure: dict[str, object]) -> None:
    scaler = Made()
    for now_s in range(0, 1_000, 10):
        assert scaler.decide(observed(3, 0, **unsure), POLICY, now_s) is None


def test_servers_that_do_not_start_are_not_wanted_again_and_again() -> None:
    scaler = Made()
    assert scaler.decide(observed(2, 250), POLICY, 0) == Scaling(
        3, "2 would carry 125 sessions each, against 100"
    )
    for now_s in range(10, 1_000, 10):
        assert scaler.decide(observed(3, 900, live=2), POLICY, now_s) is None


@pytest.mark.parametrize("least", [2, 3], ids=["by load", "by its limit"])
def test_what_is_taken_back_is_asked_for_less_and_less_often(least: int) -> None:
    """A node is full, or the servers fail: Nomad goes back to the count before."""
    scaler, policy, asked_s = Made(), Policy(least, 10, 60), []
    for now_s in range(0, 10_921, 5):
        if scaler.decide(observed(2, 250), policy, now_s):
            asked_s.append(now_s)
    assert asked_s == [0, 120, 360, 840, 1_800, 3_720, 7_320, 10_920]
    assert scaler.decide(observed(3, 250), policy, 10_930) is None, "it is there"
    assert scaler.decide(observed(3, 350), policy, 10_980), "as if nothing had been"


def test_limits_that_a_person_changes_hold_at_once() -> None:
    scaler = Made()
    assert scaler.decide(observed(4, 100), Policy(6, 8, 60), 0) == Scaling(
        6, "4 are fewer than the minimum, 6"
    )
    assert scaler.decide(observed(6, 100), Policy(1, 5, 60), 1) == Scaling(
        5, "6 are more than the maximum, 5"
    )


def test_a_lower_limit_takes_servers_out_one_after_the_other() -> None:
    scaler, policy = Made(), Policy(1, 3, 60)
    first = scaler.decide(observed(5, 100), policy, 0)
    assert first == Scaling(4, "5 are more than the maximum, 3")
    assert scaler.decide(observed(4, 100, live=5), policy, 5) is None, "one stops yet"
    assert scaler.decide(observed(4, 100, live=4), policy, 10) == Scaling(
        3, "4 are more than the maximum, 3"
    )
    assert scaler.decide(observed(3, 250), policy, 15) is None


def test_nothing_shrinks_while_a_new_version_is_tried_beside_the_old_one() -> None:
    scaler = Made()
    for now_s in range(0, 1_000, 10):
        assert scaler.decide(observed(3, 0, live=4), POLICY, now_s) is None
    assert scaler.decide(observed(3, 0), POLICY, 1_000), "it shrinks when that is over"


@given(
    st.lists(st.tuples(st.floats(0, 3_000), st.floats(0, 40_000), st.booleans()), max_size=60),
    st.floats(0, 120),
)
def test_within_limits_apart_in_time_and_never_below_the_load(
    steps: list[tuple[float, float, bool]], every_s: float
) -> None:
    scaler, wanted, changed_s = Made(), 2, -math.inf
    for number, (total, behind, all_live) in enumerate(steps):
        now_s = number * every_s
        strains = (Strain("records behind", behind, 20_000),)
        seen = observed(wanted, total, live=wanted - (not all_live), strains=strains)
        scaling = scaler.decide(seen, POLICY, now_s)
        if scaling is None:
            continue
        assert POLICY.min <= scaling.to <= POLICY.max
        assert scaling.to != wanted
        assert now_s - changed_s >= POLICY.cooldown_s
        if scaling.to < wanted:
            assert all_live
            assert total <= scaling.to * 100 * HEADROOM
        wanted, changed_s = scaling.to, now_s


def test_a_day_of_load_with_failures_does_not_swing(rng: Random) -> None:
    """Sessions as a day has them, with noise and bursts; servers that die and come back."""
    scaler, wanted, changes, short_s = Made(), 2, [], 0
    dead_until_s: list[int] = []
    for now_s in range(0, 86_400, 5):
        day = 400 - 350 * math.cos(2 * math.pi * now_s / 86_400)
        total = day * rng.uniform(0.95, 1.05) * (1.5 if 40_000 < now_s < 41_000 else 1)
        if rng.random() < 0.0005:
            dead_until_s.append(now_s + rng.randint(10, 300))
        dead_until_s = [until_s for until_s in dead_until_s if until_s > now_s]
        live = max(wanted - len(dead_until_s), 0)
        scaling = scaler.decide(observed(wanted, total, live=live), POLICY, now_s)
        if scaling:
            changes.append((now_s, scaling.to - wanted))
            wanted = scaling.to
        short_s += 5 * (total > wanted * 100 * 1.05)
    ups = [step for _, step in changes if step > 0]
    turns = sum((one > 0) != (other > 0) for (_, one), (_, other) in pairwise(changes))
    assert sum(ups) <= 16, changes
    assert turns <= 6, changes
    assert short_s < 1_800, "too few servers for long"
    assert wanted == 2
