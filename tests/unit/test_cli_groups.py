"""What the command line says of groups."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cecochat.cli.chat.conversation import SENDING, SENT, Conversation
from cecochat.cli.group_change import change_json, in_words
from cecochat.client import GroupChange, GroupOptions, Member, Receipt, Typing

US, ID = "g:us", 914_782_961_981_719_552
NEW = GroupOptions("Us", is_open=True)


def change(who: str, **what: object) -> GroupChange:
    return GroupChange(ID, US, who, **what)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (
            change("ann", added=("ann",), appointed=(Member("ann", "owner"),), options=NEW),
            "ann created “Us” (open to all)",
        ),
        (
            change("ann", added=("ann", "bob"), invited=("dan",), options=NEW),
            "ann created “Us” (open to all) with bob and invited dan",
        ),
        (change("ann", added=("bob",)), "ann added bob"),
        (change("ann", added=("bob",), removed=("dan",)), "ann added bob and removed dan"),
        (change("bob", added=("bob",)), "bob joined"),
        (change("bob", removed=("bob",)), "bob left"),
        (
            change("ann", removed=("ann",), appointed=(Member("bob", "owner"),)),
            "ann left and made bob the owner",
        ),
        (
            change("ann", appointed=(Member("ann", "admin"), Member("bob", "owner"))),
            "ann made bob the owner",
        ),
        (change("ann", appointed=(Member("bob", "member"),)), "ann made bob a plain member"),
        (
            change("ann", options=GroupOptions("We", is_channel=True, hides_past=True)),
            "ann changed the group to “We” (only admins write, past hidden from new members)",
        ),
        (
            change("ann", added=tuple(f"u{number}" for number in range(6))),
            "ann added u0, u1, u2, u3 and 2 more",
        ),
        (change("ann"), ""),
    ],
)
def test_a_change_is_a_sentence(made: GroupChange, words: str) -> None:
    assert in_words(made) == words


def test_json_has_what_a_change_names() -> None:
    made = change("ann", removed=("bob",), appointed=(Member("dan", "admin"),))
    assert change_json(made) == {
        "group_change": {
            "id": str(ID),
            "chat_id": US,
            "from": "ann",
            "sent_at": made.sent_at.isoformat(timespec="milliseconds"),
            "removed": ["bob"],
            "appointed": [{"user_id": "dan", "role": "admin"}],
        }
    }


def test_several_may_type_at_once() -> None:
    conversation = Conversation("ann", US)
    for signal, says in (
        (Typing(US, "bob", True), "bob is typing …"),
        (Typing(US, "dan", True), "bob and dan are typing …"),
        (Typing(US, "bob", True), "dan and bob are typing …"),
        (Typing(US, "dan", False), "bob is typing …"),
        (Typing(US, "bob", False), ""),
    ):
        conversation.signal(signal)
        assert conversation.peer_is == says


def test_in_a_group_a_line_is_settled_once_it_is_sent() -> None:
    conversation = Conversation("ann", US)
    conversation.name = "Us"
    assert conversation.title == "ann in Us (g:us)"
    line = conversation.say("hello", datetime.now(UTC))
    assert conversation.tick(line) == SENDING
    conversation.accepted(line, ID)
    assert conversation.take_settled() == [line]
    for mark in (ID, ID + 1):
        conversation.mark(Receipt(US, "bob", mark, mark))
        assert conversation.tick(line) == SENT
        assert conversation.take_news() == []
