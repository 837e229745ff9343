"""Legal holds: the document, and whom it concerns."""

from __future__ import annotations

from typing import Any

import pytest

from cecochat.domain.cluster.holds import (
    HOLDS_MAX,
    LIFTED_MAX,
    Asked,
    Hold,
    Holds,
    document,
    parse,
    with_erasure,
    with_hold,
    without_hold,
)
from cecochat.domain.errors import InvalidSettings, Refusal
from cecochat.domain.log.ids import ChatId

HOLD = Hold(1, "anna", "case 17")
LIFT = Hold(2, "berta", "closed")


def held(*what: str) -> Holds:
    holds = Holds()
    for each in what:
        holds = with_hold(holds, each, HOLD)
    return holds


def test_a_dialog_is_on_hold_by_its_name_and_by_its_users() -> None:
    for what in ("alice", "bob", "d:alice~bob"):
        assert held(what).name(ChatId("d:alice~bob"))
        assert not held(what).name(ChatId("d:carol~dave"))
    assert held("g:hikers").name(ChatId("g:hikers"))
    assert not held("alice").name(ChatId("g:alice"))
    assert held("g:hikers", "alice").users() == ["alice"]


def test_a_hold_stays_as_it_was_set_first() -> None:
    again = with_hold(held("alice"), "alice", LIFT)
    assert again.holds == {"alice": HOLD}


def test_a_lifted_hold_is_remembered_with_who_lifted_it() -> None:
    lifted = without_hold(held("alice", "bob"), "alice", LIFT)
    assert lifted.holds == {"bob": HOLD}
    assert lifted.lifted == (("alice", *HOLD, *LIFT),)
    with pytest.raises(Refusal):
        without_hold(lifted, "alice", LIFT)
    for _ in range(LIFTED_MAX + 5):
        lifted = without_hold(with_hold(lifted, "eve", HOLD), "eve", LIFT)
    assert len(lifted.lifted) == LIFTED_MAX


@pytest.mark.parametrize("whom", ["alice", "shop/alice", "shop/"])
def test_an_erasure_that_waits_is_kept_as_it_was_asked_for_first(whom: str) -> None:
    waits = with_erasure(with_erasure(Holds(), whom, Asked(1, "anna")), whom, Asked(2, "berta"))
    assert waits.erasures == {whom: Asked(1, "anna")}
    assert parse(document(waits)) == waits
    assert with_erasure(waits, whom, None) == Holds()


def test_there_is_a_most_and_each_has_a_reason() -> None:
    many = held(*(f"user{number}" for number in range(HOLDS_MAX)))
    assert with_hold(many, "user1", HOLD) == many
    for holds, what, hold in ((many, "eve", HOLD), (Holds(), "eve", HOLD._replace(why=""))):
        with pytest.raises(Refusal):
            with_hold(holds, what, hold)


@pytest.mark.parametrize(
    "wrong",
    [7, {"held": {}}, {"holds": []}, {"holds": {"no one": {}}}, {"holds": {"eve": {"at_ms": 1}}},
     {"erasures": {"eve": 7}}, {"erasures": {"Shop/": {"at_ms": 1, "by": "anna"}}},
     {"lifted": [{}]}],
)  # fmt: skip
def test_a_document_that_is_wrong_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidSettings):
        parse(wrong)
