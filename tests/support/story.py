"""A short faultless run with everything that the oracle looks at, for tests to corrupt."""

from __future__ import annotations

from collections.abc import Callable

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
    dialog,
    group,
    is_group,
    participants,
)

ALICE = DeviceKey("alice", "phone")
ALICE_LAPTOP = DeviceKey("alice", "laptop")
BOB = DeviceKey("bob", "phone")
CAROL = DeviceKey("carol", "phone")
AB, BC = dialog("alice", "bob"), dialog("bob", "carol")
GROUP = group("bob", "alice")

Entries = list[Entry]
History = dict[str, list[Message]]
Corruption = Callable[[Entries, History], None]


def message(message_id: int, user_id: str, chat_id: str, sent_id: str, text: str) -> Message:
    others = () if is_group(chat_id) else tuple(sorted(participants(chat_id) - {user_id}))
    return Message(message_id, user_id, chat_id, sent_id, others, text)


ONE = message(101, "alice", AB, "a1", "one")
TWO = message(102, "alice", AB, "a2", "two ≥ one\t\r\n")
ANSWER = message(103, "bob", AB, "b1", "an answer")
TO_CAROL = message(104, "bob", BC, "b2", "while you were away")
THREE = message(105, "alice", AB, "a3", "three")
MISSED = message(106, "bob", BC, "b3", "and more")
FOUNDED = Message(107, "bob", GROUP, "b4", (), None)
TO_ALL = message(108, "bob", GROUP, "b5", "to all of us")
SAME_HERE = message(109, "alice", GROUP, "a5", "same here")
AGREED = message(110, "bob", GROUP, "b6", "agreed")


def sent(of: Message) -> Sent:
    return Sent(of.client_message_id, of.chat_id, of.text)


def acked(of: Message, offset: int) -> Acked:
    return Acked(of.client_message_id, of.message_id, offset)


def story() -> tuple[Entries, History]:
    """Alice, of two devices, loses a connection with a send unanswered; Carol finds a gap; Bob
    founds a group with Alice.
    """
    lines: list[tuple[DeviceKey, int, Happening]] = []
    for who, offset in ((ALICE, 5), (ALICE_LAPTOP, 5), (BOB, 2), (CAROL, 0)):
        place = Place("log", offset, offset)
        lines += [(who, 1, Hello(None)), (who, 1, Welcomed(place)), (who, 1, CaughtUp(offset))]
    lines += [
        (CAROL, 1, Closed("", "UNAVAILABLE: the process died")),
        (ALICE, 1, sent(ONE)),
        (ALICE, 1, sent(TWO)),
        (ALICE, 1, acked(ONE, 6)),
        (ALICE_LAPTOP, 1, Delivered(6, ONE)),
        (BOB, 1, Delivered(3, ONE)),
        (ALICE, 1, Closed("", "UNAVAILABLE: the process died")),
        (ALICE_LAPTOP, 1, Delivered(7, TWO)),
        (BOB, 1, Delivered(4, TWO)),
        (BOB, 1, sent(ANSWER)),
        (BOB, 1, acked(ANSWER, 5)),
        (ALICE_LAPTOP, 1, Delivered(9, ANSWER)),
        (ALICE, 2, Hello(Place("log", 5, 6))),
        (ALICE, 2, Welcomed(Place("log", 5, 6))),
        (ALICE, 2, Delivered(7, TWO)),
        (ALICE, 2, CaughtUp(8)),
        (ALICE, 2, Delivered(9, ANSWER)),
        (ALICE, 2, sent(TWO)),
        (ALICE, 2, sent(THREE)),
        (ALICE, 2, acked(TWO, 7)),  # the answer to a repeat: behind the position
        (ALICE, 2, acked(THREE, 10)),
        (ALICE_LAPTOP, 1, Delivered(10, THREE)),
        (ALICE, 2, Sent("a4", AB, "too much")),
        (ALICE, 2, Refused("a4", "TOO_LARGE", False)),
        (BOB, 1, Delivered(6, THREE)),
        (BOB, 1, sent(TO_CAROL)),
        (BOB, 1, acked(TO_CAROL, 7)),
        (CAROL, 2, Hello(Place("log", 0, 0))),
        (CAROL, 2, Welcomed(Place("log", 0, 4))),
        (CAROL, 2, GapTold(0, 4)),
        (CAROL, 2, GapFilled(4, (TO_CAROL,))),
        (CAROL, 2, CaughtUp(4)),
        (BOB, 1, sent(MISSED)),
        (BOB, 1, acked(MISSED, 8)),
        (CAROL, 2, Delivered(5, MISSED)),
        (BOB, 1, sent(FOUNDED)),
        (BOB, 1, acked(FOUNDED, 9)),
        (ALICE, 2, Delivered(11, FOUNDED)),
        (ALICE_LAPTOP, 1, Delivered(11, FOUNDED)),
        (BOB, 1, sent(TO_ALL)),
        (ALICE, 2, sent(SAME_HERE)),
        (BOB, 1, acked(TO_ALL, 10)),
        (BOB, 1, Delivered(11, SAME_HERE)),
        (BOB, 1, sent(AGREED)),
        (BOB, 1, acked(AGREED, 12)),
        (ALICE, 2, Delivered(12, TO_ALL)),
        (ALICE, 2, acked(SAME_HERE, 13)),
        (ALICE, 2, Delivered(14, AGREED)),
        (ALICE_LAPTOP, 1, Delivered(12, TO_ALL)),
        (ALICE_LAPTOP, 1, Delivered(13, SAME_HERE)),
        (ALICE_LAPTOP, 1, Delivered(14, AGREED)),
    ]
    entries = [Entry(float(number), *line) for number, line in enumerate(lines)]
    return entries, {
        AB: [ONE, TWO, ANSWER, THREE],
        BC: [TO_CAROL, MISSED],
        GROUP: [FOUNDED, TO_ALL, SAME_HERE, AGREED],
    }
