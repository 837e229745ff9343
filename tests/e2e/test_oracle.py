"""The oracle says nothing about a good run, and names every way of breaking one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.oracle import Kind, judge
from tests.support.records import (
    Acked,
    CaughtUp,
    Closed,
    Delivered,
    DeviceKey,
    Entry,
    GapFilled,
    GapTold,
    Happening,
    Hello,
    Message,
    Place,
    Refused,
    Sent,
    Welcomed,
)
from tests.support.story import (
    AB,
    AGREED,
    ALICE,
    ALICE_LAPTOP,
    ANSWER,
    BC,
    BOB,
    CAROL,
    FOUNDED,
    MISSED,
    ONE,
    SAME_HERE,
    THREE,
    TO_ALL,
    TO_CAROL,
    TWO,
    Corruption,
    Entries,
    History,
    acked,
    sent,
    story,
)


def test_a_good_run_is_not_complained_of() -> None:
    assert judge(*story()) == []


def find(entries: Entries, who: DeviceKey, what: Happening) -> int:
    return next(i for i, entry in enumerate(entries) if entry.who == who and entry.what == what)


def replaced(who: DeviceKey, what: Happening, *by: Happening) -> Corruption:
    """In the record of one device, these happened in the place of that."""

    def corrupt(entries: Entries, _: History) -> None:
        at = find(entries, who, what)
        old = entries[at]
        entries[at : at + 1] = [Entry(old.at_s, who, old.connection, each) for each in by]

    return corrupt


def swapped(who: DeviceKey, one: tuple[int, Message], other: tuple[int, Message]) -> Corruption:
    """Two messages, each with its offset, arrive in the other order; the offsets still rise."""

    def corrupt(entries: Entries, _: History) -> None:
        (low, first), (high, second) = one, other
        early, late = (find(entries, who, Delivered(*each)) for each in (one, other))
        entries[early] = entries[early]._replace(what=Delivered(low, second))
        entries[late] = entries[late]._replace(what=Delivered(high, first))

    return corrupt


def said_first(who: DeviceKey, ack: Acked, came: Delivered) -> Corruption:
    """A device is told that its send was accepted before it is shown what came in between."""

    def corrupt(entries: Entries, _: History) -> None:
        early, late = find(entries, who, came), find(entries, who, ack)
        entries[early] = entries[early]._replace(what=replace(ack, offset=came.offset))
        entries[late] = entries[late]._replace(what=replace(came, offset=ack.offset))

    return corrupt


def everywhere(old: Message, new: Message) -> Corruption:
    """The server stored it and showed it like that to everybody, its sender included."""

    def corrupt(entries: Entries, history: History) -> None:
        for chat_id, rows in history.items():
            history[chat_id] = sorted(new if row == old else row for row in rows)
        for at, entry in enumerate(entries):
            match entry.what:
                case Delivered(offset, message) if message == old:
                    entries[at] = entry._replace(what=Delivered(offset, new))
                case GapFilled(to_offset, messages):
                    shown = tuple(new if each == old else each for each in messages)
                    entries[at] = entry._replace(what=GapFilled(to_offset, shown))
                case Acked(sent_id, old.message_id, offset) if sent_id == old.client_message_id:
                    entries[at] = entry._replace(what=acked(new, offset))

    return corrupt


def stored(chat_id: str, *rows: Message) -> Corruption:
    def corrupt(_: Entries, history: History) -> None:
        history[chat_id] = list(rows)

    return corrupt


CORRUPTIONS: list[tuple[str, Kind, Corruption]] = [
    ("an acked message is not stored", Kind.LOST_FROM_HISTORY, stored(AB, ONE, TWO, ANSWER)),
    ("a whole chat is not stored", Kind.LOST_FROM_HISTORY, lambda _, history: history.clear()),
    ("a recipient never gets it", Kind.LOST_ON_DEVICE, replaced(BOB, Delivered(6, THREE))),
    (
        "the sender's other device never gets it",
        Kind.LOST_ON_DEVICE,
        replaced(ALICE_LAPTOP, Delivered(10, THREE)),
    ),
    (
        "a resumed session skips it",
        Kind.LOST_ON_DEVICE,
        replaced(ALICE, Delivered(9, ANSWER)),
    ),
    (
        "the history fills a gap with less",
        Kind.LOST_ON_DEVICE,
        replaced(CAROL, GapFilled(4, (TO_CAROL,)), GapFilled(4, ())),
    ),
    (
        "it is delivered again, further on",
        Kind.DELIVERED_TWICE,
        replaced(BOB, Delivered(6, THREE), Delivered(6, THREE), Delivered(7, ONE)),
    ),
    (
        "it is delivered after it was acknowledged on the same device",
        Kind.DELIVERED_TWICE,
        replaced(ALICE, acked(THREE, 10), acked(THREE, 10), Delivered(11, THREE)),
    ),
    (
        "a repeat is acked with another id",
        Kind.TWO_IDS,
        replaced(ALICE, acked(TWO, 7), acked(TWO._replace(message_id=199), 7)),
    ),
    (
        "a repeat is stored again",
        Kind.TWO_IDS,
        stored(AB, ONE, TWO, ANSWER, THREE, TWO._replace(message_id=199)),
    ),
    ("an id is given twice", Kind.SHARED_ID, everywhere(THREE, THREE._replace(message_id=104))),
    (
        "acks of two sends carry one id",
        Kind.SHARED_ID,
        replaced(BOB, acked(MISSED, 8), acked(MISSED._replace(message_id=104), 8)),
    ),
    (
        "ids against the order of sending",
        Kind.SENT_ORDER,
        everywhere(ONE, ONE._replace(message_id=109)),
    ),
    ("two of a sender arrive swapped", Kind.ARRIVAL_ORDER, swapped(BOB, (3, ONE), (4, TWO))),
    (
        "an answer sorts first",
        Kind.ANSWER_ORDER,
        everywhere(ANSWER, ANSWER._replace(message_id=100)),
    ),
    (
        "a group comes in another order on one device",
        Kind.ARRIVAL_ORDER,
        swapped(ALICE_LAPTOP, (12, TO_ALL), (13, SAME_HERE)),
    ),
    (
        "a device's own words come before what the group heard first",
        Kind.ARRIVAL_ORDER,
        said_first(ALICE, acked(SAME_HERE, 13), Delivered(12, TO_ALL)),
    ),
    (
        "a member never gets what a group hears",
        Kind.LOST_ON_DEVICE,
        replaced(ALICE_LAPTOP, Delivered(13, SAME_HERE)),
    ),
    (
        "a member never hears of the group",
        Kind.LOST_ON_DEVICE,
        replaced(ALICE_LAPTOP, Delivered(11, FOUNDED)),
    ),
    (
        "a group is heard by a stranger",
        Kind.LEAKED,
        replaced(CAROL, Delivered(5, MISSED), Delivered(5, MISSED), Delivered(6, AGREED)),
    ),
    (
        "a message to a group names recipients",
        Kind.WRONG_RECIPIENTS,
        everywhere(AGREED, AGREED._replace(recipient_ids=("alice",))),
    ),
    (
        "a change of a group becomes a message",
        Kind.TEXT_CHANGED,
        everywhere(FOUNDED, FOUNDED._replace(text="hello")),
    ),
    ("the history is out of order", Kind.HISTORY_ORDER, stored(AB, ONE, ANSWER, TWO, THREE)),
    ("the history repeats a row", Kind.STORED_TWICE, stored(AB, ONE, TWO, TWO, ANSWER, THREE)),
    ("a device saw what is not stored", Kind.NOT_IN_HISTORY, stored(BC, TO_CAROL)),
    (
        "a device saw another sender",
        Kind.SHARED_ID,
        replaced(BOB, Delivered(3, ONE), Delivered(3, ONE._replace(user_id="bob"))),
    ),
    (
        "one device saw another text",
        Kind.VIEWS_DIFFER,
        replaced(BOB, Delivered(3, ONE), Delivered(3, ONE._replace(text="One"))),
    ),
    (
        "a delivered offset stands still",
        Kind.POSITION_BACK,
        replaced(BOB, Delivered(4, TWO), Delivered(3, TWO)),
    ),
    (
        "a first ack lies behind",
        Kind.POSITION_BACK,
        replaced(BOB, acked(ANSWER, 5), acked(ANSWER, 4)),
    ),
    ("caught up with the past", Kind.POSITION_BACK, replaced(ALICE, CaughtUp(8), CaughtUp(6))),
    (
        "a session skips ahead of the position asked for",
        Kind.RESUMED_ELSEWHERE,
        replaced(ALICE, Welcomed(Place("log", 5, 6)), Welcomed(Place("log", 5, 7))),
    ),
    (
        "delivered to a stranger",
        Kind.LEAKED,
        replaced(CAROL, Delivered(5, MISSED), Delivered(5, MISSED), Delivered(6, THREE)),
    ),
    ("the history shows another chat's row", Kind.LEAKED, stored(BC, TO_CAROL, THREE, MISSED)),
    (
        "a recipient is added",
        Kind.WRONG_RECIPIENTS,
        everywhere(THREE, THREE._replace(recipient_ids=("bob", "carol"))),
    ),
    (
        "a text loses a line end",
        Kind.TEXT_CHANGED,
        everywhere(TWO, TWO._replace(text="two ≥ one\t\n")),
    ),
    (
        "a message nobody sent",
        Kind.NEVER_SENT,
        everywhere(ANSWER, ANSWER._replace(client_message_id="b9")),
    ),
    (
        "a message moves to another chat",
        Kind.NEVER_SENT,
        everywhere(MISSED, MISSED._replace(chat_id=AB)),
    ),
    (
        "the device goes on without filling a gap",
        Kind.GAP_OPEN,
        replaced(CAROL, GapFilled(4, (TO_CAROL,))),
    ),
    (
        "the device comes back behind a gap",
        Kind.GAP_OPEN,
        replaced(
            CAROL,
            GapFilled(4, (TO_CAROL,)),
            Closed("", "UNAVAILABLE"),
            Hello(Place("log", 0, 4)),
            Welcomed(Place("log", 0, 4)),
        ),
    ),
    (
        "a session starts behind a gap that it does not tell",
        Kind.RESUMED_ELSEWHERE,
        replaced(CAROL, GapTold(0, 4)),
    ),
    (
        "refused for good, and stored",
        Kind.REFUSED_YET_STORED,
        replaced(ALICE, acked(THREE, 10), Refused("a3", "TOO_LARGE", False)),
    ),
    ("a send without an answer", Kind.UNANSWERED, replaced(BOB, acked(MISSED, 8))),
    (
        "a send that vanished altogether",
        Kind.UNANSWERED,
        replaced(BOB, sent(ANSWER), Sent("b0", AB, "anybody?"), sent(ANSWER)),
    ),
]


@pytest.mark.parametrize(
    ("kind", "corrupt"),
    [(kind, corrupt) for _, kind, corrupt in CORRUPTIONS],
    ids=[name for name, _, _ in CORRUPTIONS],
)
def test_a_corrupted_run_is_named(kind: Kind, corrupt: Corruption) -> None:
    entries, history = story()
    corrupt(entries, history)
    assert kind in {violation.kind for violation in judge(entries, history)}


def test_every_kind_of_violation_is_proven_to_be_found() -> None:
    ours = set(Kind) - {Kind.UNEXPLAINED}  # tests/e2e/test_porcupine.py
    assert {kind for _, kind, _ in CORRUPTIONS} == ours


def test_a_device_that_left_owes_nothing_but_is_still_judged_on_what_it_saw() -> None:
    entries, history = story()
    replaced(BOB, Delivered(6, THREE), Delivered(6, ONE))(entries, history)
    assert {violation.kind for violation in judge(entries, history, {BOB})} == {
        Kind.DELIVERED_TWICE,
        Kind.ARRIVAL_ORDER,
    }


def test_a_device_is_owed_nothing_from_before_it_came() -> None:
    entries, history = story()
    late = DeviceKey("bob", "new")
    place = Place("log", 2, 8)
    entries += [Entry(99.0, late, 1, each) for each in (Hello(None), Welcomed(place), CaughtUp(8))]
    assert judge(entries, history) == []


def test_a_device_that_comes_back_without_its_position_is_a_fault_of_the_test() -> None:
    entries, history = story()
    entries.append(Entry(99.0, BOB, 2, Hello(None)))
    with pytest.raises(ValueError, match="without a position"):
        judge(entries, history)
