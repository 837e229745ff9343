"""How long chats keep their messages: the document, and what it comes to."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecochat.client import Edit as Edited
from cecochat.client import Message as Said
from cecochat.client import Timeline
from cecochat.domain.cluster.retention import (
    FOREVER,
    Retention,
    Rule,
    document,
    parse,
    with_rule,
)
from cecochat.domain.errors import InvalidSettings, Refusal
from cecochat.domain.log.ids import message_id, stamp_at
from cecochat.domain.log.place import Place
from cecochat.domain.session import frames
from cecochat.sealing.keyring import KeyRing
from cecochat.sealing.opening import Opening
from cecochat.v1.events_pb2 import Edit, Event, Message, Receipt
from cecochat.v1.messaging_pb2 import ServerFrame

DIALOG, GROUP = "d:alice~bob", "g:hikers"
OF_SHOP = "d:shop/alice~shop/bob"
KINDS = ("dialogs", "groups", "shop/dialogs")
NOW_MS = 1_800_000_000_000
DAY_S = 86_400

steps = st.lists(
    st.tuples(
        st.sampled_from([*KINDS, DIALOG, GROUP, OF_SHOP]),
        st.sampled_from([None, FOREVER, 60, DAY_S, 30 * DAY_S]),
        st.integers(0, 40 * DAY_S),
    ),
    max_size=8,
)


def changed(done: list[tuple[str, int | None, int]]) -> list[tuple[Retention, int]]:
    """The rules after each of these changes, and when that was."""
    retention, now_ms, found = Retention(), NOW_MS, [(Retention(), NOW_MS)]
    for of, keep_s, later_s in done:
        now_ms += later_s * 1_000
        is_kind = of in ("dialogs", "groups")
        retention = with_rule(
            retention, of, FOREVER if is_kind and keep_s is None else keep_s, now_ms
        )
        found.append((retention, now_ms))
    return found


@given(steps)
def test_what_was_too_old_once_stays_gone(done: list[tuple[str, int | None, int]]) -> None:
    for chat in (DIALOG, GROUP, OF_SHOP):
        floors = [each.kept_from_ms(chat, now_ms) for each, now_ms in changed(done)]
        assert floors == sorted(floors)


@given(steps)
def test_the_document_says_it_all(done: list[tuple[str, int | None, int]]) -> None:
    for retention, _ in changed(done):
        assert parse(document(retention)) == retention


def test_it_is_exact_to_the_millisecond() -> None:
    retention = with_rule(Retention(), "dialogs", DAY_S, NOW_MS)
    sent = message_id(stamp_at(NOW_MS), 7)
    assert retention.kept_from(DIALOG, NOW_MS + DAY_S * 1_000) <= sent
    assert retention.kept_from(DIALOG, NOW_MS + DAY_S * 1_000 + 1) > sent
    assert retention.kept_from(GROUP, NOW_MS + DAY_S * 1_000 + 1) == 0


def test_what_an_own_rule_keeps_does_not_go_with_others() -> None:
    retention = with_rule(Retention(), "dialogs", 60, NOW_MS)
    for own in ("shop/dialogs", DIALOG):
        retention = with_rule(retention, own, DAY_S, NOW_MS)
    later_ms = NOW_MS + 3_600_000
    retention = with_rule(retention, "dialogs", FOREVER, later_ms)
    first_ms = NOW_MS - 60_000
    assert [retention.kept_from_ms(each, later_ms) for each in (OF_SHOP, DIALOG)] == [first_ms] * 2
    assert retention.kept_from_ms("d:alice~carol", later_ms) == later_ms - 60_000


def test_an_app_has_its_own_rule_in_place_of_all() -> None:
    retention = with_rule(Retention(), "shop/dialogs", 60, NOW_MS)
    assert [retention.keep_s(each) for each in (OF_SHOP, DIALOG, "g:shop/team")] == [60, 0, 0]
    assert with_rule(retention, "shop/dialogs", None, 0) == Retention()
    own = with_rule(retention, OF_SHOP, DAY_S, NOW_MS)
    assert [own.keep_s(each) for each in (OF_SHOP, "d:shop/alice~shop/carol")] == [DAY_S, 60]
    of_group = with_rule(retention, "g:shop/dialogs", 60, NOW_MS)
    assert (of_group.keep_s("g:shop/dialogs"), of_group.apps) == (60, retention.apps)
    for wrong in ("Shop/dialogs", "shop/all", "/dialogs", "shop/dialogs/dialogs"):
        with pytest.raises(Refusal):
            with_rule(retention, wrong, 60, NOW_MS)
        with pytest.raises(InvalidSettings):
            parse({"apps": {wrong: {"keep_s": 60}}})


def test_a_chat_has_its_own_rule_in_place_of_its_kinds() -> None:
    retention = with_rule(Retention(), "groups", 60, NOW_MS)
    assert retention.keep_s(GROUP) == 60
    assert with_rule(retention, GROUP, FOREVER, NOW_MS).keep_s(GROUP) == FOREVER
    longer = with_rule(retention, GROUP, DAY_S, NOW_MS)
    assert longer.keep_s(GROUP) == DAY_S
    assert longer.kept_from_ms(GROUP, NOW_MS) == NOW_MS - 60_000
    assert with_rule(longer, GROUP, None, NOW_MS).keep_s(GROUP) == 60
    assert not with_rule(Retention(), GROUP, None, NOW_MS).is_set
    with pytest.raises(Refusal):
        with_rule(retention, "nothing", 60, NOW_MS)


@pytest.mark.parametrize(
    "wrong",
    [
        7,
        {"all": {}},
        {"dialogs": 7},
        {"dialogs": {"keep_s": None}},
        {"groups": {"keep_s": -1}},
        {"groups": {"keep_s": True}},
        {"groups": {"gone_ms": 1 << 60}},
        {"chats": {"bob": {"keep_s": 7}}},
        {"chats": {GROUP: {"days": 7}}},
        {"chats": [GROUP]},
    ],
)
def test_a_document_that_is_wrong_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidSettings):
        parse(wrong)


def test_nothing_is_too_old_without_a_rule() -> None:
    assert parse({}) == Retention()
    assert Retention().kept_from(DIALOG, NOW_MS) == 0
    assert Rule(None).keep_s is None


# -- what is told


MESSAGE_ID = message_id(stamp_at(NOW_MS), 7)
OLD = Event(
    id=MESSAGE_ID, user_id="alice", chat_id=DIALOG, message=Message(text="old", reply_to_id=9)
)
EDIT = Event(
    id=MESSAGE_ID + (1 << 40),
    user_id="alice",
    chat_id=DIALOG,
    edit=Edit(message_id=MESSAGE_ID, text="new"),
)
RECEIPT = Event(id=1, user_id="alice", chat_id=DIALOG, receipt=Receipt(read_up_to=7))


class Clock:
    now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


def opening(clock: Clock) -> Opening:
    """It opens nothing, but knows that dialogs keep messages for a day."""
    made = Opening(KeyRing(cast("Any", None), b"secret"), now_ms=clock)
    made.keep(with_rule(Retention(), "dialogs", DAY_S, NOW_MS))
    return made


async def test_what_is_too_old_is_told_without_what_it_says() -> None:
    clock = Clock()
    telling = opening(clock)
    raw = [each.SerializeToString() for each in (OLD, EDIT, RECEIPT)]
    clock.now_ms += DAY_S * 1_000
    assert await telling.events(raw) == [raw]
    clock.now_ms += 1
    ((old, edit, receipt),) = await telling.events(raw)
    assert Event.FromString(old).message == Message(expired=True)
    assert Event.FromString(edit).edit == Edit(message_id=MESSAGE_ID, expired=True)
    assert receipt == raw[2]


async def test_a_stream_is_told_no_more_even_if_it_was_opened_before() -> None:
    clock = Clock()
    telling = opening(clock)
    chunk = frames.delivered(Place(1, 5), OLD.SerializeToString())
    marks = frames.delivered(Place(1, 6), RECEIPT.SerializeToString())
    whole = ServerFrame.FromString(chunk + marks)
    assert ServerFrame.FromString(await telling.frame([chunk, marks])) == whole
    clock.now_ms += DAY_S * 1_000 + 1
    told = ServerFrame.FromString(await telling.frame([chunk, marks]))
    first, second = (item.delivered for item in told.items)
    assert (first.offset, first.event.message) == (5, Message(expired=True))
    assert second.event == RECEIPT
    telling.keep(Retention())
    assert await telling.frame([chunk, marks]) == chunk + marks


def test_a_timeline_forgets_a_text_that_comes_again_as_gone() -> None:
    said = Said(7, DIALOG, "alice", "old", "c1")
    edit = Edited(8, DIALOG, "alice", 7, "new")
    for gone in (Said(7, DIALOG, "alice", "", "c1", erased=True), said_too_old(said)):
        timeline = Timeline()
        for each in (said, edit):
            assert timeline.add(each)
        assert timeline.add(gone) == timeline.add(said) == timeline.get(7)
        found = timeline.get(7)
        assert found
        assert (found.text, found.erased or found.expired) == ("", True)


def said_too_old(message: Said) -> Said:
    return replace(message, text="", expired=True)
