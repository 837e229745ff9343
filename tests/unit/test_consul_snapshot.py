"""Who lives, when Consul forgets and comes back."""

from __future__ import annotations

from cecochat.adapters.consul.snapshot import LiveServers
from cecochat.ports.discovery import Instance

GRACE_S = 10.0
A, B, C = (Instance("messaging", name, f"{name}:1", "", "1") for name in "abc")


def live(snapshot: LiveServers) -> str:
    return "".join(instance.instance_id for instance in snapshot.live)


def known(*instances: Instance) -> LiveServers:
    """A snapshot whose grace is over."""
    snapshot = LiveServers(GRACE_S)
    snapshot.answered(instances, now=0)
    assert snapshot.live == instances
    return snapshot


def test_without_a_disturbance_an_answer_is_the_truth() -> None:
    snapshot = known(A, B)
    snapshot.answered([B], now=1)
    assert live(snapshot) == "b"
    snapshot.answered([], now=2)
    assert live(snapshot) == ""
    snapshot.answered([C, A], now=3)
    assert live(snapshot) == "ac", "by instance id"
    assert snapshot.grace_left_s(3) is None


def test_without_an_answer_all_stay_however_long_it_takes() -> None:
    snapshot = known(A, B)
    for _ in range(100):
        snapshot.disturbed()
        assert live(snapshot) == "ab"
    assert snapshot.grace_left_s(1_000) is None, "the grace has not begun"


def test_after_a_disturbance_those_not_listed_stay_for_the_grace() -> None:
    snapshot = known(A, B)
    snapshot.disturbed()
    snapshot.answered([], now=100)
    assert live(snapshot) == "ab"
    assert snapshot.grace_left_s(104) == 6
    snapshot.answered([C], now=109.9)
    assert live(snapshot) == "abc", "a new one is known at once"
    snapshot.answered([C], now=110)
    assert live(snapshot) == "c"
    assert snapshot.grace_left_s(110) is None


def test_who_was_listed_again_and_then_is_not_stays_for_the_grace_too() -> None:
    snapshot = known(A, B)
    snapshot.disturbed()
    snapshot.answered([A, B], now=100)  # as the disk said
    snapshot.answered([], now=101)  # no check has run yet
    assert live(snapshot) == "ab"
    snapshot.answered([A, B], now=102)
    snapshot.answered([A], now=110)
    assert live(snapshot) == "a"


def test_a_listed_one_is_taken_as_it_is_listed() -> None:
    snapshot = known(A)
    snapshot.disturbed()
    moved = A._replace(address="a:2")
    snapshot.answered([moved], now=100)
    assert snapshot.live == (moved,)


def test_another_disturbance_begins_another_grace() -> None:
    snapshot = known(A, B)
    snapshot.disturbed()
    snapshot.answered([A], now=100)
    snapshot.disturbed()
    snapshot.answered([], now=109)
    snapshot.answered([], now=118)
    assert live(snapshot) == "ab"
    snapshot.answered([], now=119)
    assert live(snapshot) == ""
