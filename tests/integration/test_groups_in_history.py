"""Groups in the history: what materialize makes of their events, and what members are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.adapters.embedded.history import EmbeddedHistory
from cecochat.domain.changes.about import about
from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Origin, Takeover, encode
from cecochat.ports.backplane import NewRecord
from cecochat.ports.history import Hole, MarkRow, MessageRow, Progress
from cecochat.servers.history.sight import group_page
from cecochat.servers.materialize import on_request
from cecochat.servers.materialize.on_request import OnRequest
from cecochat.v1.events_pb2 import (
    ROLE_MEMBER,
    ROLE_OWNER,
    ROLE_UNSPECIFIED,
    Event,
    GroupOptions,
    Membership,
)
from cecochat.v1.history_pb2 import (
    GetChatsRequest,
    GetMessagesRequest,
    GetMessagesResponse,
    ListMembersRequest,
)
from tests.contract.test_history import on_one_database
from tests.contract.test_history_groups import happenings
from tests.integration.systems import Refused, Running, running
from tests.integration.test_materialize import BEGAN_MS, append, materializing
from tests.integration.test_openapi import GROUP, MEMBERS, Asking
from tests.support.damage import SqliteDamage
from tests.support.eventually import eventually
from tests.support.groups import GroupWorld

ANN, BOB, CAROL, DAN = map(UserId, ("ann", "bob", "carol", "dan"))
US = ChatId("g:us")


def new_group(partitions: int) -> GroupWorld:
    """Nobody has created it yet."""
    at = {f"{user}": partition_of(user, partitions) for user in (ANN, BOB, CAROL, DAN)}
    return GroupWorld(US, partition_of(UserId(US), partitions), at)


def with_a_life(group: GroupWorld) -> GroupWorld:
    """Bob is there from the second message to the fourth, and Carol since the last but one."""
    group.change(ANN, Membership(options=GroupOptions(name="Us", hides_past=True)))
    group.say(ANN, "one")
    group.change(ANN, Membership(added_ids=[BOB], invited_ids=[DAN]))
    group.say(BOB, "two")
    group.say(ANN, "three")
    group.change(ANN, Membership(removed_ids=[BOB]))
    group.say(ANN, "four")
    group.change(ANN, Membership(added_ids=[CAROL], options=GroupOptions(name="All of us")))
    group.say(CAROL, "five")
    return group


# -- materialize


def record(group: GroupWorld, number: int, row: MessageRow) -> NewRecord:
    """The origin of an event in the home of the group."""
    event = Event.FromString(row.event)
    key = (UserId(event.user_id), "", row.recipient_ids)
    origin = Origin(event.id, Place(BEGAN_MS, 0), number, *key, row.event, event)
    return NewRecord(group.home, *encode(origin))


@asynccontextmanager
async def logged(folder: Path, group: GroupWorld) -> AsyncIterator[EmbeddedBackplane]:
    """A log of four partitions with the events of that group."""
    log = await EmbeddedBackplane.open(folder, partition_count=4, retention_bytes=0)
    try:
        takeover = NewRecord(group.home, *encode(Takeover("server", "session", 1)))
        records = (record(group, number, row) for number, row in enumerate(group.rows))
        await append(log, BEGAN_MS, takeover, *records)
        yield log
    finally:
        await log.close()


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[EmbeddedHistory]:
    history = await EmbeddedHistory.open(tmp_path / "history")
    yield history
    await history.close()


async def test_events_of_a_group_become_its_rows_and_are_audited(
    tmp_path: Path, history: EmbeddedHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_request, "LOOK_AGAIN_S", 0.01)
    group = with_a_life(new_group(4))
    async with logged(tmp_path / "log", group) as log, materializing(log, history):
        asked = OnRequest(log, history, lambda _: None)

        async def is_there() -> bool:
            return (await asked.step(group.home, -1)).up_to == len(group.rows)

        await eventually(is_there)
        assert await history.lacking(group.rows, []) == ([], [], [], [])
        residents = [
            (each.user_id, each.stays)
            async for each in history.groups.living_in(
                group.partition_of[BOB], {group.home: group.rows[-1].message_id}
            )
        ]
        assert (BOB, group.stays.of(BOB)) in residents

        assert (await asked.step(group.home, -1)).missing == []
        damage = SqliteDamage(tmp_path / "history")
        await damage.delete_member(US, BOB, group.rows[2].message_id)
        (missing,) = (await asked.step(group.home, -1)).missing
        assert (missing.what, missing.message_id) == ("absent", group.rows[2].message_id)
        await asked.step(group.home, -1, repair=True)
        assert (await asked.step(group.home, -1)).missing == []
        assert await history.lacking(group.rows, []) == ([], [], [], [])


# -- queries


@pytest.fixture
async def group(tmp_path: Path) -> GroupWorld:
    """Its rows are in the history of the system that starts next."""
    made = with_a_life(new_group(1))
    await written(tmp_path, made, MarkRow(US, ANN, 0, made.rows[3].message_id))
    return made


async def written(folder: Path, group: GroupWorld, *marks: MarkRow) -> None:
    history = await EmbeddedHistory.open(folder)
    await history.write(group.rows, marks, Progress("another log", 0, 0))
    await history.close()


@pytest.fixture
async def up(tmp_path: Path, group: GroupWorld) -> AsyncIterator[Running]:
    assert group
    async with running(tmp_path) as system:
        yield system


def ids_of(page: GetMessagesResponse) -> list[int]:
    return [event.id for event in page.messages]


async def test_members_see_what_happened_while_they_belonged_to_it(
    up: Running, group: GroupWorld
) -> None:
    for user in (ANN, BOB, CAROL):
        whole = await up.messages(user, GetMessagesRequest(chat_id=US))
        assert ids_of(whole) == group.sees(user)
        assert not whole.has_more
        for limit in (1, 2, 3):
            assert await read(up, user, limit, upwards=True) == group.sees(user)
            assert await read(up, user, limit, upwards=False) == group.sees(user)


async def read(up: Running, user: str, limit: int, *, upwards: bool) -> list[int]:
    """Page by page, each of which brings something, but for the first of nothing."""
    request, found = GetMessagesRequest(chat_id=US, limit=limit), list[int]()
    if upwards:
        request.after = 0
    while True:
        page = await up.messages(user, request)
        assert len(page.messages) <= limit
        found = [*found, *ids_of(page)] if upwards else [*ids_of(page), *found]
        if not page.has_more:
            return found
        assert len(page.messages) == limit
        if upwards:
            request.after = found[-1]
        else:
            request.before = found[0]


async def test_who_was_away_sees_nothing_of_that_time(tmp_path: Path) -> None:
    group = with_a_life(new_group(1))
    group.change(ANN, Membership(options=GroupOptions(name="Us", hides_past=True)))
    group.say(ANN, "only Ann and Carol")
    group.change(ANN, Membership(added_ids=[BOB]))
    group.say(ANN, "Bob, too")
    await written(tmp_path, group)
    async with running(tmp_path) as up:
        for limit in (1, 2, 3, 50):
            assert await read(up, BOB, limit, upwards=True) == group.sees(BOB)
            assert await read(up, BOB, limit, upwards=False) == group.sees(BOB)
        assert len(group.stays.of(BOB)) == 2


async def test_a_gap_is_filled_with_what_came_while_a_member_was_there(tmp_path: Path) -> None:
    """Carol may read what was said before she came, but no device of hers has missed it."""
    group = new_group(1)
    group.change(ANN, Membership(options=GroupOptions(name="Us")))
    group.say(ANN, "before Carol")
    group.change(ANN, Membership(added_ids=[CAROL]))
    group.say(ANN, "to Carol")
    await written(tmp_path, group)
    async with running(tmp_path) as up:
        for with_changes, first in ((False, 0), (True, 2)):
            request = GetMessagesRequest(chat_id=US, after=0, with_changes=with_changes)
            page = await up.messages(CAROL, request)
            assert ids_of(page) == [row.message_id for row in group.rows[first:]]


@on_one_database
@given(happened=happenings(), limit=st.integers(1, 6))
async def test_pages_joined_are_what_each_user_sees_once_in_order(
    history: EmbeddedHistory, happened: tuple[GroupWorld, list[MarkRow]], limit: int
) -> None:
    group, _ = happened
    await history.write(group.rows, [], None)
    for user in map(UserId, group.partition_of):
        seen = await history.groups.seen(user, group.chat_id)
        if seen is None:
            assert group.sees(user) == []
            continue
        read = partial(group_page, history, user, group.chat_id, seen, limit=limit)
        for upwards in (True, False):
            found, more, bound = list[int](), True, 0 if upwards else None
            while more:
                before, after = (None, bound) if upwards else (bound, None)
                page, _, _ = await read(before=before, after=after)
                ids = [Event.FromString(event).id for event in page.events]
                found, more = [*found, *ids] if upwards else [*ids, *found], page.has_more
                assert len(ids) == limit if more else len(ids) <= limit
                bound = found[-1 if upwards else 0]
            assert found == group.sees(user)


@pytest.mark.parametrize("user", [DAN, "stranger"])
async def test_a_group_of_others_and_none_at_all_are_refused_in_the_same_words(
    up: Running, user: str
) -> None:
    """Dan is invited, but not a member."""
    calls = (
        lambda chat_id: up.messages(user, GetMessagesRequest(chat_id=chat_id)),
        lambda chat_id: up.group(user, chat_id),
        lambda chat_id: up.members(user, ListMembersRequest(chat_id=chat_id)),
    )
    for call in calls:
        said = []
        for chat_id in (US, "g:no"):
            with pytest.raises(Refused) as refused:
                await call(chat_id)
            assert refused.value.code == "NOT_FOUND"
            said.append(refused.value.error.message.replace(chat_id, "g:"))
        assert said[0] == said[1]
    assert list((await up.chats(user, GetChatsRequest())).chats) == []


async def test_chats_have_groups_as_each_user_sees_them(up: Running, group: GroupWorld) -> None:
    for user, role, name, unread in (
        (ANN, ROLE_OWNER, "All of us", 1),
        (BOB, ROLE_UNSPECIFIED, "Us", 1),
        (CAROL, ROLE_MEMBER, "All of us", 0),
    ):
        for request in (GetChatsRequest(), GetChatsRequest(after_chat_id="")):
            (chat,) = (await up.chats(user, request)).chats
            assert (chat.chat_id, chat.role, chat.options.name) == (US, role, name)
            assert chat.unread_count == unread
            assert chat.last_message.id == group.sees(user)[-1]
            assert [mark.user_id for mark in chat.marks] == ([ANN] if user == ANN else [])


async def test_marks_of_others_are_shown_to_members_only(up: Running) -> None:
    for user, seen in ((CAROL, [ANN]), (BOB, [])):
        page = await up.messages(user, GetMessagesRequest(chat_id=US))
        assert [mark.user_id for mark in page.marks] == seen


async def test_members_and_options_are_those_that_each_user_sees(
    up: Running, group: GroupWorld
) -> None:
    now, then = group.rows[-1].message_id, group.rows[5].message_id
    for user, as_of in ((ANN, now), (CAROL, now), (BOB, then)):
        expected = group.groups[as_of]
        answer = await up.group(user, US)
        assert (answer.as_of, answer.options) == (as_of, expected.options)
        assert answer.role == group.group.role_of(user)
        found = dict[str, tuple[int, bool]]()
        more, request = True, ListMembersRequest(chat_id=US, limit=1)
        while more:
            page = await up.members(user, request)
            assert page.as_of == as_of
            found |= {each.user_id: (each.role, each.is_invited) for each in page.members}
            more, request.after_user_id = page.has_more, page.members[-1].user_id
            request.as_of = page.as_of
        invited = dict.fromkeys(expected.invited, (ROLE_UNSPECIFIED, True))
        assert found == {each: (role, False) for each, role in expected.roles.items()} | invited


async def test_members_of_an_earlier_time_can_be_asked_for_but_no_later_ones(
    up: Running, group: GroupWorld
) -> None:
    request = ListMembersRequest(chat_id=US, as_of=group.rows[0].message_id)
    assert [each.user_id for each in (await up.members(ANN, request)).members] == [ANN]
    hidden = await up.members(BOB, request)
    assert hidden.as_of == group.rows[5].message_id, "he does not see what was before him"
    request.as_of = group.rows[-1].message_id
    found = await up.members(BOB, request)
    assert found.as_of == group.rows[5].message_id
    assert CAROL not in [each.user_id for each in found.members]


async def test_what_is_said_of_a_message_after_somebody_left_is_not_told_to_them(
    up: Running, group: GroupWorld, tmp_path: Path
) -> None:
    first, second = (row.message_id for row in group.rows[3:5])
    edit = Event(id=group.next_id(), user_id=BOB, chat_id=US, recipient_ids=[US])
    edit.edit.message_id, edit.edit.text = first, "edited"
    deletion = Event(id=group.next_id(), user_id=ANN, chat_id=US, recipient_ids=[US])
    deletion.deletion.message_id = second
    history = await EmbeddedHistory.open(tmp_path)
    for event in (edit, deletion):
        key = (event.id, US, UserId(event.user_id), (UserId(US),))
        await history.write([MessageRow(*key, event.SerializeToString(), about(event))], [], None)
    await history.close()
    texts = {}
    for user in (ANN, BOB):
        page = await up.messages(user, GetMessagesRequest(chat_id=US))
        texts[user] = {event.id: event.message.text for event in page.messages}
        page = await up.messages(user, GetMessagesRequest(chat_id=US, after=0, with_changes=True))
        assert (edit.id in ids_of(page)) == (user == ANN)
        (chat,) = (await up.chats(user, GetChatsRequest())).chats
        assert chat.last_change_id <= (deletion.id if user == ANN else group.sees(BOB)[-1])
    assert (texts[ANN][first], texts[ANN][second]) == ("edited", "")
    assert (texts[BOB][first], texts[BOB][second]) == ("two", "")


async def test_holes_of_a_group_are_told_to_those_who_would_see_what_is_missing(
    up: Running, group: GroupWorld, tmp_path: Path
) -> None:
    missing = group.rows[6].message_id + 1
    span = (1, 1, missing, missing)
    hole = Hole("log", 0, *span, US, "refused", "too large", 1, user_id=ANN, client_message_id="c")
    history = await EmbeddedHistory.open(tmp_path)
    await history.write([], [], None, [hole])
    await history.close()
    for user, told in ((ANN, [missing]), (BOB, []), ("stranger", [])):
        chats = await up.chats(user, GetChatsRequest())
        assert [each.first_id for each in chats.holes] == told
        assert [each.first_id for chat in chats.chats for each in chat.holes] == told
    for user, told in ((ANN, [missing]), (BOB, [])):
        page = await up.messages(user, GetMessagesRequest(chat_id=US))
        assert [each.first_id for each in page.holes] == told


async def test_a_dialog_has_no_members(up: Running) -> None:
    with pytest.raises(Refused, match="dialog") as refused:
        await up.group(ANN, "d:ann~bob")
    assert refused.value.code == "INVALID_ARGUMENT"


async def test_the_same_is_answered_over_http(up: Running, group: GroupWorld) -> None:
    """As the document of these calls says."""
    asking = Asking(up)
    for path, same in (
        (GROUP, await up.group(ANN, US)),
        (MEMBERS, await up.members(ANN, ListMembersRequest(chat_id=US))),
    ):
        answer = await asking(path, ANN, json={"chatId": US})
        assert answer == MessageToDict(same)
        assert answer["asOf"] == str(group.rows[-1].message_id)
