"""The rules of moderation: what they forbid whom, until when, and how they are stored."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.cluster.room import OF_AN_APP_MAX, OF_NO_APP_MAX
from cecochat.domain.errors import InvalidSettings, Refusal
from cecochat.domain.log.ids import UserId
from cecochat.domain.moderation.before_send import BeforeSend, Breaker, question, verdict
from cecochat.domain.moderation.rules import (
    FOR_GOOD_MS,
    PARTS,
    Part,
    Rules,
    Slowness,
    changed,
    document,
    parse,
)
from cecochat.v1.events_pb2 import (
    ChatSettings,
    Deletion,
    Edit,
    GroupOptions,
    Membership,
    Mention,
    Message,
    Reaction,
    Receipt,
)
from cecochat.v1.messaging_pb2 import Send

NOW_MS = 1_800_000_000_000
BOB, CHAT = UserId("bob"), "d:alice~bob"
SAYS = [Send(message=Message(text="x")), Send(edit=Edit(text="x")), Send(reaction=Reaction())]
SAYS += [Send(membership=Membership(added_ids=["cyd"]))]
SAYS += [Send(membership=Membership(removed_ids=["bob"], options=GroupOptions(name="Fools")))]
SAYS += [Send(membership=Membership(removed_ids=["bob"], banned_ids=["cyd"]))]
SAYS += [Send(deletion=Deletion(as_admin=True))]
SILENT = [Send(receipt=Receipt()), Send(deletion=Deletion()), Send(settings=ChatSettings())]
SILENT += [Send(membership=Membership(removed_ids=["bob"]))]


def why(rules: Rules, send: Send, now_ms: int = NOW_MS) -> str:
    """The code with which bob is refused, or nothing."""
    send.chat_id = CHAT
    try:
        rules.check(BOB, send, now_ms)
    except Refusal as refusal:
        return refusal.name
    return ""


@pytest.mark.parametrize("send", SAYS)
def test_who_is_muted_or_in_a_frozen_chat_says_nothing(send: Send) -> None:
    assert why(Rules(), send) == ""
    assert why(Rules(muted={"alice": FOR_GOOD_MS}, frozen={"d:bob~cyd": FOR_GOOD_MS}), send) == ""
    assert why(Rules(muted={"bob": NOW_MS + 1}), send) == "muted"
    assert why(Rules(frozen={CHAT: NOW_MS + 1}), send) == "frozen"
    assert why(Rules(muted={"bob": NOW_MS}, frozen={CHAT: NOW_MS}), send) == ""


@pytest.mark.parametrize("send", SILENT)
def test_what_says_nothing_stays_possible(send: Send) -> None:
    assert why(Rules(muted={"bob": FOR_GOOD_MS}, frozen={CHAT: FOR_GOOD_MS}), send) == ""
    assert why(Rules(banned={"bob": FOR_GOOD_MS}), send) == "banned"


def test_a_refusal_says_for_how_long() -> None:
    rules = Rules(banned={"bob": NOW_MS + 3 * 3_600_000, "cyd": FOR_GOOD_MS})
    with pytest.raises(Refusal, match=r"^you are banned for 3 hours more$") as refused:
        rules.check_banned("bob", NOW_MS)
    assert refused.value.retry_after_ms == 3 * 3_600_000
    with pytest.raises(Refusal, match="only an operator can change that") as refused:
        rules.check_banned("cyd", NOW_MS)
    assert refused.value.retry_after_ms == 0
    rules.check_banned("dan", NOW_MS)


def test_a_slow_chat_takes_a_message_of_each_user_in_a_while() -> None:
    slowness, rules = Slowness(), Rules(slow={CHAT: 10})
    first = Send(client_message_id="1", chat_id=CHAT, message=Message(text="x"))
    message = Send(client_message_id="2", chat_id=CHAT, message=Message(text="x"))
    slowness.take(rules, BOB, first, NOW_MS)
    slowness.take(rules, BOB, first, NOW_MS + 1)
    slowness.take(rules, UserId("alice"), message, NOW_MS)
    slowness.take(rules, BOB, Send(chat_id=CHAT, reaction=Reaction()), NOW_MS)
    slowness.take(rules, BOB, Send(chat_id="g:all", message=Message(text="x")), NOW_MS)
    with pytest.raises(Refusal, match="every 10 s") as refused:
        slowness.take(rules, BOB, message, NOW_MS + 9_000)
    assert (refused.value.name, refused.value.retry_after_ms) == ("too_soon", 1_000)
    slowness.take(rules, BOB, message, NOW_MS + 10_000)


ENTRIES = st.tuples(st.sampled_from(PARTS), st.sampled_from(["a", "b"]), st.integers(0, 86_400))


@given(st.lists(ENTRIES, max_size=20))
def test_the_last_change_of_each_entry_counts(entries: list[tuple[Part, str, int]]) -> None:
    rules = Rules()
    last: dict[tuple[Part, str], int] = {}
    for part, name, number in entries:
        name = name if part in ("banned", "muted") else f"g:{name}"
        rules = parse(document(changed(rules, part, name, number, now_ms=0)))
        last[part, name] = number
    kept = {(part, name): number for part, name, number in rules.entries()}
    assert kept == {key: number for key, number in last.items() if number}


def test_what_has_ended_is_dropped_and_too_much_is_refused() -> None:
    rules = changed(Rules(banned={"bob": NOW_MS}), "muted", "cyd", FOR_GOOD_MS, NOW_MS)
    assert rules.entries() == [("muted", "cyd", FOR_GOOD_MS)]
    full = Rules(muted={f"u{number}": FOR_GOOD_MS for number in range(OF_NO_APP_MAX)})
    with pytest.raises(Refusal, match="lift some first"):
        changed(full, "muted", "bob", FOR_GOOD_MS, NOW_MS)
    assert len(changed(full, "muted", "u1", 0, NOW_MS).muted) == OF_NO_APP_MAX - 1


def test_no_app_takes_the_room_of_others() -> None:
    full = Rules(muted={f"shop/u{number}": FOR_GOOD_MS for number in range(OF_AN_APP_MAX)})
    with pytest.raises(Refusal, match="lift some first"):
        changed(full, "muted", "shop/bob", FOR_GOOD_MS, NOW_MS)
    for name in ("bob", "news/bob"):
        assert name in changed(full, "muted", name, FOR_GOOD_MS, NOW_MS).muted


ASKED = {"url": "https://shop.example/chat", "created_ms": 1, "kinds": ["message"]}


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {"unknown": {}},
        {"banned": {"no user": 1}},
        {"banned": {"bob": 0}},
        {"banned": {"bob": True}},
        {"banned": ["bob"]},
        {"frozen": {"bob": 1}},
        {"slow": {CHAT: 86_401}},
        {"before_send": {"": {"url": "https://shop.example"}}},
        {"before_send": {"No App": ASKED}},
        {"before_send": []},
        {"before_send": {"": ASKED | {"url": "ftp://shop.example"}}},
        {"before_send": {"": ASKED | {"kinds": []}}},
        {"before_send": {"": ASKED | {"kinds": ["receipt"]}}},
        {"before_send": {"": ASKED | {"deadline_ms": 1}}},
        {"before_send": {"": ASKED | {"when_away": "wait"}}},
        {"before_send": {"": ASKED | {"more": 1}}},
    ],
)
def test_a_wrong_document_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidSettings, match="moderation"):
        parse(wrong)


def test_the_document_keeps_whom_to_ask() -> None:
    rules = parse({"before_send": {"": ASKED, "shop": ASKED}})
    asked = BeforeSend("https://shop.example/chat", 1, kinds=("message",))
    assert rules.before_send == {"": asked, "shop": asked}
    assert parse(document(rules)) == rules


def test_what_is_asked_and_what_answers_mean() -> None:
    message = Message(text="hello", reply_to_id=7, mentions=[Mention(user_id="cyd")])
    send = Send(client_message_id="1", chat_id=CHAT, message=message)
    assert question("bob", send) == {
        "type": "before_send.message",
        "data": {
            "userId": "bob",
            "chatId": CHAT,
            "clientMessageId": "1",
            "text": "hello",
            "mentions": ["cyd"],
            "replyToId": "7",
        },
    }
    send.message.attachments.add(id="A", name="a.png", media_type="image/png", size_bytes=3)
    (file,) = question("bob", send)["data"]["attachments"]
    assert (file["name"], file["mediaType"], file["sizeBytes"]) == ("a.png", "image/png", "3")
    asked = question("bob", Send(edit=Edit(message_id=9, text="hi")))
    assert (asked["type"], asked["data"]["messageId"]) == ("before_send.edit", "9")
    for allowed in (b"", b" ", b'{"action": "allow"}'):
        assert verdict(allowed) is None
    refused = verdict(b'{"action": "refuse", "reason": "be kind"}')
    assert refused
    assert (refused.name, refused.message) == ("rejected", "be kind")
    changed_ = verdict(b'{"action": "change", "text": "h***"}')
    assert changed_
    assert (changed_.name, changed_.replacement) == ("rejected", "h***")


@pytest.mark.parametrize(
    "answer",
    [
        b"<html>",
        b"{}",
        b'{"result": "refuse"}',
        b'{"action": "change", "text": 1}',
        b"[]",
        b'"no"',
        b'{"action": "drop"}',
        b'{"action": "change"}',
        b"\xff",
        b'{"action": "change", "text": "\\ud83d"}',
        b'{"action": "refuse", "reason": "\\ud83d"}',
    ],
)
def test_what_is_no_answer_is_no_verdict(answer: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        verdict(answer)


def test_who_fails_several_times_is_left_alone_for_a_while() -> None:
    clock = {"s": 0.0}
    breaker = Breaker(lambda: clock["s"])

    def asks() -> bool:
        return not breaker.is_open

    def fail(times: int) -> None:
        for _ in range(times):
            breaker.note(failed=True)

    fail(4)
    breaker.note(failed=False)
    fail(4)
    assert asks()
    fail(1)
    assert not asks()
    clock["s"] = 5.0
    assert asks()
    fail(1)
    assert not asks(), "one more failure is enough"
