"""The judge of groups whose members come and go says nothing about a good run, and names every way
of breaking one.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cecochat.v1.events_pb2 import (
    ROLE_MEMBER,
    ROLE_OWNER,
    Appointment,
    Event,
    GroupOptions,
    Membership,
    Mention,
    Message,
    Receipt,
)
from cecochat.v1.messaging_pb2 import Ack, Delivered, Refused, Send, ServerItem, Welcome
from tests.support.membership import MemberDevice, Recount, judge, read_up_to
from tests.support.records import DeviceKey, Record

ROOM = "g:room"
OPEN = GroupOptions(name="the room")
HIDDEN = GroupOptions(name="the room", hides_past=True)
BY_BOB = {
    101: Membership(
        options=OPEN,
        added_ids=["bob", "alice"],
        appointments=[Appointment(user_id="bob", role=ROLE_OWNER)],
    ),
    103: Membership(options=HIDDEN, added_ids=["carol"]),
    105: Membership(removed_ids=["alice"], invited_ids=["dan"]),
}
SAID = {102: "alice", 104: "carol", 106: "carol", 108: "bob"}
MENTIONED = {102: ["carol"], 106: ["bob", "bob", "alice"], 108: ["bob"]}
READ = 107  # by Carol, up to 104
HEARD = {
    "alice": [101, 102, 103, 104, 105],
    "bob": [101, 102, 103, 104, 105, 106, 107, 108],
    "carol": [103, 104, 105, 106, 107, 108],
}


def event(id_: int) -> Event:
    at = Event(id=id_, chat_id=ROOM, client_message_id=f"send {id_}")
    if id_ in BY_BOB:
        at.user_id = "bob"
        at.membership.CopyFrom(BY_BOB[id_])
    elif id_ == READ:
        at.user_id = "carol"
        at.receipt.CopyFrom(Receipt(read_up_to=104))
    else:
        at.user_id = SAID[id_]
        mentions = [Mention(user_id=each, length=1) for each in MENTIONED.get(id_, [])]
        at.message.CopyFrom(Message(text=f"text {id_}", mentions=mentions))
    return at


class Run:
    """What three devices sent and got, and what the history has of the group."""

    def __init__(self, heard: dict[str, list[int]]) -> None:
        self.devices = {user: self._device(user, ids) for user, ids in heard.items()}
        self.events = [event(id_) for id_ in range(101, 109) if id_ != READ]

    def _device(self, user: str, heard: list[int]) -> MemberDevice:
        device = MemberDevice(DeviceKey(user, "phone"), Record(), str, str)
        device._take(ServerItem(welcome=Welcome()))
        for id_ in heard:
            self.hears(device, id_)
        return device

    def hears(self, device: MemberDevice, id_: int) -> None:
        """What its user did itself comes as an ack."""
        at, offset = event(id_), len(device.got)
        if at.user_id != device.who.user_id:
            device._take(ServerItem(delivered=Delivered(event=at, offset=offset)))
            return
        body = at.WhichOneof("body")
        assert body
        send = Send(chat_id=ROOM, **{body: getattr(at, body)})
        name = device.put(send, at.client_message_id)
        device._take(ServerItem(ack=Ack(client_message_id=name, message_id=id_, offset=offset)))

    def found(self) -> list[str]:
        return list(judge(self.devices.values(), {ROOM: Recount(self.events)}))


def test_a_good_run_is_not_complained_of() -> None:
    run = Run(HEARD)
    run.hears(run.devices["carol"], 104)  # a repeat is answered
    assert run.found() == []


def test_a_recount_says_who_belongs_and_what_they_read() -> None:
    recount = Recount(Run(HEARD).events)
    assert recount.roles == {"bob": ROLE_OWNER, "carol": ROLE_MEMBER}
    assert recount.invited == {"dan"}
    assert recount.options == HIDDEN
    assert recount.may_read("alice") == [101, 102, 103, 104, 105]
    assert recount.may_read("carol") == [103, 104, 105, 106, 108]
    assert recount.may_read("dan") == []
    assert recount.unread("bob", 102) == (2, 1)
    assert recount.unread("carol", 0) == (1, 0)
    assert read_up_to(Run(HEARD).devices.values(), "carol", ROOM) == 104


def test_who_comes_back_sees_what_they_missed_only_if_it_is_shown() -> None:
    shown = Recount([*Run(HEARD).events, comes_back(109, OPEN)])
    assert shown.may_read("alice") == [101, 102, 103, 104, 105, 106, 108, 109]
    hidden = Recount([*Run(HEARD).events, comes_back(109, HIDDEN)])
    assert hidden.may_read("alice") == [101, 102, 103, 104, 105, 109]
    for each in (shown, hidden):
        assert each.unread("alice", 0) == (1, 0), "nobody counts what was said while they were away"


def comes_back(id_: int, options: GroupOptions) -> Event:
    return Event(id=id_, user_id="bob", membership=Membership(added_ids=["alice"], options=options))


def heard(user: str, *ids: int) -> Callable[[], Run]:
    return lambda: Run({**HEARD, user: list(ids)})


def stored(*events: Event) -> Callable[[], Run]:
    def run() -> Run:
        found = Run(HEARD)
        found.events = list(events)
        return found

    return run


def twice() -> Run:
    run = Run(HEARD)
    run.hears(run.devices["alice"], 104)
    return run


def refused() -> Run:
    run = Run(HEARD)
    run.devices["carol"]._take(ServerItem(refused=Refused(client_message_id="send 106")))
    return run


def refused_though_there() -> Run:
    run = Run(HEARD)
    name = run.devices["bob"].say(ROOM, "hello")
    run.devices["bob"]._take(ServerItem(refused=Refused(client_message_id=name)))
    return run


def unanswered() -> Run:
    run = Run(HEARD)
    run.devices["bob"].say(ROOM, "anybody?")
    return run


def changed() -> Run:
    run = Run(HEARD)
    run.events[1].message.text = "other words"
    return run


def a_stranger() -> Run:
    run = Run(HEARD)
    run.events[1].user_id = "eve"
    return run


E = [event(id_) for id_ in range(101, 109) if id_ != READ]


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (heard("alice", 101, 102, 103, 104), "lacks [105]"),
        (heard("carol", 104, 105, 106, 107, 108), "lacks [103]"),
        (heard("bob", 101, 102, 103, 104, 105, 106, 108), "lacks [107]"),
        (heard("alice", 101, 102, 103, 104, 105, 106), "got [106]"),
        (heard("carol", 102, 103, 104, 105, 106, 107, 108), "got [102]"),
        (heard("alice", 101, 102, 104, 103, 105), "got [(104, 103)] in that order"),
        (heard("bob", 101, 102, 103, 104, 105, 106, 108, 107), "got [(108, 107)] in that order"),
        (twice, "got 104 twice"),
        (stored(*E[:1], *E[2:]), "acknowledged and is lost"),
        (stored(*E[:2], E[3], E[2], *E[4:]), "103 comes after 104"),
        (stored(*E, Event(id=109, user_id="bob", client_message_id="send 108")), "there twice"),
        (refused, "refused and accepted"),
        (refused_though_there, "refused to somebody who always belonged"),
        (unanswered, "not answered"),
        (changed, "was changed"),
        (a_stranger, "heard without belonging"),
    ],
)
def test_what_is_broken_is_named(run: Callable[[], Run], said: str) -> None:
    assert any(said in each for each in run().found())
