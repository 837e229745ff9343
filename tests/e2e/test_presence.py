"""The judge of presence has nothing to say of a good run, and names what is wrong in a bad one."""

from __future__ import annotations

import pytest

from tests.support.presence import Phone, Word, judge
from tests.support.records import DeviceKey


def phone(user_id: str, device: str = "phone") -> Phone:
    made = Phone(DeviceKey(user_id, device), lambda: "", lambda: "", "grpc")
    made.comes()
    made.server_id = "messaging-1"
    return made


@pytest.fixture
def phones() -> list[Phone]:
    """Alice looks at Bob, who is here twice, at Carol, who hides, and at Dan, who is gone."""
    alice, bob, tablet, carol, dan = (
        *(phone("alice"), phone("bob"), phone("bob", "tablet")),
        *(phone("carol"), phone("dan")),
    )
    carol.hidden = True
    dan.leaves()
    alice.watches(["bob", "carol", "dan"])
    alice.seen = {
        "bob": Word(1.0, "bob", online=True, last_seen_ms=0),
        "carol": Word(1.0, "carol", online=False, last_seen_ms=0),
        "dan": Word(1.0, "dan", online=False, last_seen_ms=5),
    }
    return [alice, bob, tablet, carol, dan]


def test_nothing_is_wrong_where_everybody_is_shown_as_they_are(phones: list[Phone]) -> None:
    assert judge(phones) == []


@pytest.mark.parametrize(
    ("user_id", "word"),
    [
        ("bob", None),
        ("bob", Word(1.0, "bob", online=False, last_seen_ms=5)),
        ("bob", Word(1.0, "bob", online=True, last_seen_ms=5)),
        ("carol", Word(1.0, "carol", online=True, last_seen_ms=0)),
        ("carol", Word(1.0, "carol", online=False, last_seen_ms=5)),
        ("dan", Word(1.0, "dan", online=True, last_seen_ms=0)),
    ],
)
def test_a_wrong_last_word_is_named(phones: list[Phone], user_id: str, word: Word | None) -> None:
    seen = phones[0].seen
    del seen[user_id]
    if word:
        seen[user_id] = word
    (found,) = judge(phones)
    assert user_id in found


def test_who_hides_on_one_device_is_hidden(phones: list[Phone]) -> None:
    phones[2].hidden = True
    assert len(judge(phones)) == 1
    phones[2].leaves()
    assert judge(phones) == []


def test_who_is_not_back_is_named(phones: list[Phone]) -> None:
    phones[1].server_id = ""
    (found,) = judge(phones)
    assert "bob" in found
