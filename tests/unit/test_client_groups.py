"""Groups in the client, without any server: what is asked for, what arrives, and what is kept."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from cecochat.client import (
    Group,
    GroupChange,
    GroupOptions,
    Groups,
    InvalidArgument,
    Member,
    Message,
    Refused,
    Rejected,
    Timeline,
)
from cecochat.client.events import entry_of, event_of
from cecochat.client.history import History
from cecochat.client.recent import recent
from cecochat.domain.device.device import Device
from cecochat.domain.log.ids import message_id
from cecochat.v1 import events_pb2, history_pb2, messaging_pb2
from cecochat.v1.errors_pb2 import ERROR_CODE_FORBIDDEN, Error
from cecochat.v1.events_pb2 import (
    ROLE_ADMIN,
    ROLE_MEMBER,
    ROLE_OWNER,
    Appointment,
    Membership,
    Role,
)
from cecochat.v1.history_pb2 import (
    GetChatsResponse,
    GetGroupResponse,
    GetMessagesResponse,
    ListMembersResponse,
)
from cecochat.v1.messaging_pb2 import (
    ReadToken,
    Send,
    ServerItem,
)
from tests.support.client_groups import (
    HERE,
    HOME,
    NEW,
    NO_GROUP,
    OPTIONS,
    US,
    Answering,
    World,
    delivered,
    event,
)


def appoints(user: str, role: Role.ValueType) -> Membership:
    return Membership(appointments=[Appointment(user_id=user, role=role)])


def answer(role: Role.ValueType = ROLE_OWNER) -> GetGroupResponse:
    return GetGroupResponse(options=OPTIONS, role=role, as_of=8)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (
            lambda groups: groups.create("Us", members=["bob"], invited=["dan"], is_open=True),
            Membership(added_ids=["bob"], invited_ids=["dan"], options=OPTIONS, creates=True),
        ),
        (lambda groups: groups.add(US, "bob", "carol"), Membership(added_ids=["bob", "carol"])),
        (lambda groups: groups.remove(US, "bob"), Membership(removed_ids=["bob"])),
        (lambda groups: groups.invite(US, "bob"), Membership(invited_ids=["bob"])),
        (lambda groups: groups.join(US), Membership(added_ids=["alice"])),
        (lambda groups: groups.leave(US), Membership(removed_ids=["alice"])),
        (lambda groups: groups.appoint(US, "bob", "admin"), appoints("bob", ROLE_ADMIN)),
        (lambda groups: groups.appoint(US, "bob", "owner"), appoints("bob", ROLE_OWNER)),
        (
            lambda groups: groups.rename(US, "We"),
            Membership(options=events_pb2.GroupOptions(name="We", is_open=True)),
        ),
        (
            lambda groups: groups.configure(US, is_open=False, hides_past=True),
            Membership(options=events_pb2.GroupOptions(name="Us", hides_past=True)),
        ),
    ],
)
async def test_each_change_is_sent_as_what_is_wanted(
    change: Callable[[Groups], Coroutine[Any, Any, object]], wanted: Membership
) -> None:
    world = World(None, answer())
    send = await world.asked(change(world.groups))
    assert send.membership == wanted
    assert send.chat_id == US or send.membership.options.name == "Us"


async def test_a_group_has_one_id_for_one_client_message_id() -> None:
    world = World()
    made = [
        (await world.asked(world.groups.create("Us", client_message_id=key))).chat_id
        for key in ("one", "one", "two")
    ]
    assert made[0] == made[1] != made[2]
    chosen = await world.asked(world.groups.create("Us", chat_id=US))
    assert chosen.chat_id == US


@pytest.mark.parametrize(
    "change",
    [
        lambda groups: groups.create(""),
        lambda groups: groups.create("n" * 129),
        lambda groups: groups.create("Us", members=["no id!"]),
        lambda groups: groups.create("Us", chat_id="us"),
        lambda groups: groups.create("Us", chat_id="g:"),
        lambda groups: groups.create("Us", is_open="yes"),
        lambda groups: groups.add("bob", "carol"),
        lambda groups: groups.add(US),
        lambda groups: groups.add(US, 7),
        lambda groups: groups.add(US, *(f"u{number}" for number in range(101))),
        lambda groups: groups.appoint(US, "bob", "king"),
        lambda groups: groups.configure(US),
        lambda groups: groups.rename(US, " "),
        lambda groups: groups.members(US, 0),
        lambda groups: groups.members(US, as_of=-1),
        lambda groups: groups.get("d:alice~bob"),
    ],
)
async def test_nonsense_is_refused_before_anything_leaves(
    change: Callable[[Any], Awaitable[object]],
) -> None:
    world = World()
    with pytest.raises(InvalidArgument):
        await change(world.groups)
    assert not world.local.progress.live.outbox
    assert not world.calls.asked


# -- what arrives


async def test_a_change_arrives_as_what_it_comes_to_and_is_no_message() -> None:
    world = World()
    made = event(1, "bob", membership=NEW)
    world.local.receive(delivered(6, made))
    world.local.receive(delivered(7, event(2, "bob", message=events_pb2.Message(text="hello"))))
    change = await world.event()
    assert change == GroupChange(
        made.id,
        US,
        "bob",
        added=("bob", "alice"),
        invited=("dan",),
        appointed=(Member("bob", "owner"),),
        options=GroupOptions("Us", is_open=True),
        client_message_id="c",
    )
    assert change.is_first
    later = event_of(event(3, "bob", membership=Membership(added_ids=["bob"])))
    assert isinstance(later, GroupChange)
    assert not later.is_first
    message = await world.event()
    assert isinstance(message, Message)
    world.local.deal()
    world.local.tell_marks()
    assert not world.local.progress.live.outbox, "nobody is told that it was delivered"
    world.local.read_up_to(message.chat_id, message.id)  # type: ignore[arg-type]
    world.local.tell_marks()
    (mark,) = world.local.progress.live.outbox.values()
    assert mark.receipt.read_up_to == message.id


def test_a_role_of_a_later_version_is_at_least_a_members() -> None:
    raw = Appointment(user_id="bob").SerializeToString() + b"\x10\x63"
    later = Membership(appointments=[Appointment.FromString(raw)])
    change = entry_of(event(1, "ann", membership=later))
    assert isinstance(change, GroupChange)
    assert change.appointed == (Member("bob", "member"),)


async def test_a_change_that_an_earlier_run_left_is_sent_again_and_told_of() -> None:
    earlier = Device("alice")
    for key, user in (("one", "bob"), ("two", "carol")):
        change = Membership(added_ids=[user])
        earlier.submit(Send(client_message_id=key, chat_id=US, membership=change))
    kept = json.loads(json.dumps(earlier.snapshot()))
    world = World(Device.restored(kept))
    frame = world.local.next_frame()
    assert frame
    first, second = frame.sends
    assert [each.membership.added_ids for each in (first, second)] == [["bob"], ["carol"]]
    world.acknowledge(first)
    assert await world.event() == GroupChange(
        message_id(9, HOME), US, "alice", added=("bob",), client_message_id="one"
    )
    error = Error(code=ERROR_CODE_FORBIDDEN, message="no")
    item = messaging_pb2.Refused(client_message_id="two", error=error)
    world.local.receive(ServerItem(refused=item))
    rejected = await world.event()
    assert isinstance(rejected, Rejected)
    assert (rejected.chat_id, rejected.text, rejected.error.code) == (US, "", "forbidden")


async def test_what_is_asked_next_includes_what_was_acknowledged_in_the_groups_home() -> None:
    """The place is that in the log of the partition that the message id names."""
    world = World(None, answer())
    await world.asked(world.groups.add(US, "bob"))
    await world.groups.get(US)
    (request,) = world.calls.asked
    token = ReadToken(log_id="log", offsets={HOME: 40}, clocks={HOME: 44})
    assert request.token == token
    own = delivered(8, events_pb2.Event(id=1, user_id="alice", chat_id="d:alice~bob"))
    world.local.receive(own)
    token.offsets[HERE], token.clocks[HERE] = 8, 8
    assert world.local.read_token() == token


# -- what the history answers


async def test_a_group_is_what_the_history_says() -> None:
    for role, called in ((ROLE_ADMIN, "admin"), (0, None)):
        group = await World(None, answer(role)).groups.get(US)  # type: ignore[arg-type]
        assert group == Group(US, GroupOptions("Us", is_open=True), called, 8)  # type: ignore[arg-type]
        assert group.name == "Us"


async def test_what_was_told_of_a_group_is_in_what_the_history_answers_next() -> None:
    """It may not have the change yet, and not even know that this user belongs to the group."""
    added = event(1, "bob", membership=NEW)
    early, late = (GetGroupResponse(options=OPTIONS, as_of=added.id + n) for n in (-1, 0))
    world = World(None, NO_GROUP, early, late, NO_GROUP, GetMessagesResponse(messages=[added]))
    world.local.receive(delivered(6, added))
    assert (await world.groups.get(US)).as_of == added.id
    page = await recent(lambda: History("alice", world.calls).messages(US), lambda _: True)
    assert page.entries == [entry_of(added)]
    assert world.calls.answers == []


async def test_a_group_that_nobody_told_of_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(None, NO_GROUP, NO_GROUP)
    with pytest.raises(Refused, match="no such group"):
        await world.groups.get(US)
    monkeypatch.setattr("cecochat.client.recent.GIVE_UP_S", 0.0)
    world.local.receive(delivered(6, event(1, "bob", membership=NEW)))
    with pytest.raises(Refused, match="no such group"):
        await world.groups.get(US)


async def test_all_members_are_those_of_one_time() -> None:
    ann = history_pb2.Member(user_id="ann", role=ROLE_MEMBER)
    dan = history_pb2.Member(user_id="dan", is_invited=True)
    world = World(
        None,
        ListMembersResponse(members=[ann], has_more=True, as_of=8),
        ListMembersResponse(members=[dan], as_of=8),
    )
    found = [member async for member in world.groups.every_member(US)]
    assert found == [Member("ann", "member"), Member("dan", None, is_invited=True)]
    assert [(each.after_user_id, each.as_of) for each in world.calls.asked] == [("", 0), ("ann", 8)]


async def test_pages_have_changes_beside_messages() -> None:
    change = event(1, "bob", membership=NEW)
    said = event(2, "bob", message=events_pb2.Message(text="hello"))
    history = History("alice", Answering(GetMessagesResponse(messages=[change, said])))
    page = await history.messages(US)
    assert page.entries == [entry_of(change), entry_of(said)]
    assert [each.text for each in page.messages] == ["hello"]


async def test_a_list_of_chats_says_what_each_group_is() -> None:
    change = event(1, "bob", membership=NEW)
    said = events_pb2.Event(id=1, chat_id="d:alice~bob", message=events_pb2.Message(text="hello"))
    chats = GetChatsResponse(
        chats=[
            history_pb2.Chat(
                chat_id=US,
                last_message=change,
                options=OPTIONS,
                role=ROLE_MEMBER,
                unread_count=2,
                unread_mention_count=1,
            ),
            history_pb2.Chat(chat_id="d:alice~bob", last_message=said),
        ]
    )
    group, dialog = await History("alice", Answering(chats)).chats()
    assert (group.options, group.role) == (GroupOptions("Us", is_open=True), "member")
    assert (group.unread_count, group.unread_mention_count) == (2, 1)
    assert group.last_change == entry_of(change)
    assert (group.last_message.id, group.last_message.text) == (change.id, "")
    assert (dialog.options, dialog.role, dialog.last_change) == (None, None, None)


def test_a_timeline_has_changes_between_messages() -> None:
    events = [
        event_of(event(number, "bob", **body))
        for number, body in (
            (2, {"message": events_pb2.Message(text="frist")}),
            (1, {"membership": NEW}),
            (4, {"edit": events_pb2.Edit(message_id=message_id(2 << 10, HOME), text="first")}),
            (3, {"membership": Membership(removed_ids=["alice"])}),
        )
    ]
    timeline = Timeline()
    for each in events:
        assert each
        timeline.add(each)
    first, message, last = timeline.entries()
    assert (first, last) == (events[1], events[3])
    assert isinstance(message, Message)
    assert message.text == "first"
    timeline.forget(first.id)
    assert timeline.entries() == [message, last]
