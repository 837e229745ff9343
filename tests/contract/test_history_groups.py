"""What ports/groups.py promises, and ports/history.py of groups, on every adapter."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.changes.about import About
from cecochat.domain.errors import Refusal
from cecochat.domain.groups.changes import Standing
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.ports import history as port
from cecochat.ports.history import (
    MARKS_MAX,
    UNREAD_MAX,
    GroupLine,
    History,
    MarkRow,
    MessageRow,
    Page,
)
from cecochat.v1.events_pb2 import (
    ROLE_ADMIN,
    ROLE_MEMBER,
    ROLE_OWNER,
    ROLE_UNSPECIFIED,
    Appointment,
    GroupOptions,
    Membership,
)
from tests.contract.openers import cassandra
from tests.contract.test_history import NOWHERE, message, on_one_database, worlds
from tests.contract.test_history_lacking import NOTHING, damage  # noqa: F401 - a fixture
from tests.support.damage import Damage
from tests.support.groups import GroupWorld, within

PARTITIONS = 4_000
NAMES = "abcd"


@pytest.fixture(scope="module", autouse=True)
def dropped() -> Iterator[None]:
    """Nothing stays in a database that is shared."""
    yield
    asyncio.run(cassandra.drop())


def new_group() -> GroupWorld:
    """A group that nobody has created, in partitions that no other test uses."""
    world = next(worlds)
    at = {f"{name}{world}": (world + place % 2) % PARTITIONS for place, name in enumerate(NAMES)}
    return GroupWorld(f"g:{world}", world % PARTITIONS, at)


def people(group: GroupWorld) -> list[UserId]:
    return list(map(UserId, group.partition_of))


@st.composite
def changes(draw: st.DrawFn, users: list[UserId]) -> Membership:
    some = st.lists(st.sampled_from(users), max_size=2, unique=True)
    change = Membership(added_ids=draw(some), removed_ids=draw(some), invited_ids=draw(some))
    if draw(st.integers(0, 3)) == 0:
        change.options.name = draw(st.sampled_from(["Us", "We"]))
        change.options.is_open = draw(st.booleans())
        change.options.hides_past = draw(st.booleans())
    if draw(st.integers(0, 3)) == 0:
        role = draw(st.sampled_from([ROLE_MEMBER, ROLE_ADMIN, ROLE_OWNER]))
        change.appointments.add(user_id=draw(st.sampled_from(users)), role=role)
    return change


@st.composite
def happenings(draw: st.DrawFn) -> tuple[GroupWorld, list[MarkRow]]:
    """A group in which everybody tries everything, and who reads how far."""
    group = new_group()
    users = people(group)
    group.change(users[0], Membership(options=GroupOptions(name="Us", is_open=True)))
    for _ in range(draw(st.integers(0, 15))):
        actor = draw(st.sampled_from(users))
        if draw(st.booleans()) and group.group.role_of(actor):
            group.say(actor, mentioned=draw(st.sets(st.sampled_from(users))))
            continue
        try:
            group.change(actor, draw(changes(users)))
        except Refusal:
            continue
    places = st.sampled_from([0, *(row.message_id for row in group.rows)])
    marks = [MarkRow(group.chat_id, user, 0, draw(places)) for user in users]
    return group, [mark for mark in marks if mark.read_up_to]


async def check(history: History, group: GroupWorld, marks: list[MarkRow]) -> None:
    """The history says of the group what its events come to."""
    ids = [row.message_id for row in group.rows]
    events = [row.event for row in group.rows]
    page = await history.messages(group.chat_id, before=None, after=None, limit=100)
    assert page == Page(events, has_more=False)
    assert await history.marks_in_group(group.chat_id, UserId("nobody")) == marks
    for user in people(group):
        await check_sight(history, group, user, ids)
        await check_list(history, group, user, marks)
    for id_ in (ids[0], ids[-1], ids[len(ids) // 2]):
        await check_members(history, group, id_)


async def check_sight(history: History, group: GroupWorld, user: UserId, ids: list[int]) -> None:
    sight = await history.groups.seen(user, group.chat_id)
    stays = group.stays.of(user)
    if not stays:
        assert sight is None
        return
    assert sight
    assert await history.groups.of_user(user) == [group.chat_id]
    assert within(sight.ranges, ids) == group.sees(user)
    assert sight.role == group.group.role_of(user)
    here = bool(sight.role)
    assert sight.as_of >= ids[-1] if here else sight.as_of == stays[-1].last_id
    assert sight.ranges[-1].last_id == sight.as_of, "nothing that comes meanwhile is read"


async def check_list(
    history: History, group: GroupWorld, user: UserId, marks: list[MarkRow]
) -> None:
    expected = []
    if seen := group.sees(user):
        own = [mark for mark in marks if mark.user_id == user]
        row = next(row for row in group.rows if row.message_id == seen[-1])
        unread = group.unread(user, own[0].read_up_to if own else 0)
        options = group.groups[seen[-1]].options.SerializeToString()
        line = GroupLine(group.group.role_of(user), options)
        expected = [port.ChatRow(group.chat_id, seen[-1], row.event, *unread, own, group=line)]
    assert await history.chats(user, before=None, limit=9) == (expected, False)
    assert await history.chats_by_id(user, after="", limit=9) == (expected, False)
    if expected:
        assert await history.chats(user, before=seen[-1], limit=9) == ([], False)


async def check_members(history: History, group: GroupWorld, id_: int) -> None:
    then = group.groups[id_]
    found = [each async for each in history.groups.homed_in(group.home, id_)]
    (same,) = (each for each in found if each.chat_id == group.chat_id)
    assert (same.roles, same.invited, same.options) == (then.roles, then.invited, then.options)
    options = await history.groups.options(group.chat_id, id_)
    assert GroupOptions.FromString(options) == then.options
    everybody = await all_people(history, group.chat_id, id_)
    assert {user: each.role for user, each in everybody if each.role} == then.roles
    assert {user for user, each in everybody if each.is_invited} == then.invited
    residents = {}
    for partition in set(group.partition_of.values()):
        async for each in history.groups.living_in(partition, {group.home: id_}):
            if each.chat_id == group.chat_id:
                assert group.partition_of[each.user_id] == partition
                residents[each.user_id] = each
    roles = {user: each.standing.role for user, each in residents.items() if each.standing.role}
    assert roles == then.roles
    for user, each in residents.items():
        begun = [stay for stay in group.stays.of(user) if stay.first_id <= id_]
        assert [stay.first_id for stay in each.stays] == [stay.first_id for stay in begun]


async def all_people(history: History, chat_id: ChatId, at: int) -> list[tuple[UserId, Standing]]:
    """In pages of two."""
    found: list[tuple[UserId, Standing]] = []
    more = True
    while more:
        after = found[-1][0] if found else ""
        page, more = await history.groups.people(chat_id, at=at, after=after, limit=2)
        assert page or not more
        found += page
    assert found == sorted(found)
    return found


@on_one_database
@given(happened=happenings(), data=st.data())
async def test_changes_in_any_order_and_repeated_come_to_the_same(
    history: History, happened: tuple[GroupWorld, list[MarkRow]], data: st.DataObject
) -> None:
    group, marks = happened
    writes: list[MessageRow | MarkRow] = [*group.rows, *marks]
    again = data.draw(st.lists(st.sampled_from(writes), max_size=5))
    order = data.draw(st.permutations([*writes, *again]))
    async with asyncio.TaskGroup() as tasks:
        for at in range(0, len(order), 3):
            part = order[at : at + 3]
            rows = [each for each in part if isinstance(each, MessageRow)]
            some_marks = [each for each in part if isinstance(each, MarkRow)]
            tasks.create_task(history.write(rows, some_marks, NOWHERE))
    await check(history, group, marks)
    assert await history.lacking(group.rows, marks) == NOTHING


async def test_a_list_of_chats_has_groups_and_dialogs_in_one_order(history: History) -> None:
    groups = [new_group() for _ in range(3)]
    ann = UserId(f"ann{next(worlds)}")
    ids = []
    for group in groups:
        group.partition_of[ann] = 1
        group.change(ann, Membership(options=GroupOptions(name="Us")))
    dialogs = [ChatId(f"d:{ann}~zoe{number}") for number in range(3)]
    rows = [group.rows[0] for group in groups]
    rows += [
        message(groups[0].rows[0].message_id + (2 * at - 1 << 23), chat, ann)
        for at, chat in enumerate(dialogs)
    ]
    await history.write(rows, [], NOWHERE)
    ids = sorted((row.message_id for row in rows), reverse=True)
    found, before, more = list[int](), None, True
    while more:
        page, more = await history.chats(ann, before=before, limit=2)
        found += [each.last_message_id for each in page]
        before = found[-1]
    assert found == ids
    names, after, more = list[str](), "", True
    while more:
        page, more = await history.chats_by_id(ann, after=after, limit=2)
        names += [each.chat_id for each in page]
        after = names[-1]
    assert names == sorted([*dialogs, *(group.chat_id for group in groups)])


async def test_a_user_with_the_name_of_a_group_is_no_member(history: History) -> None:
    group = new_group()
    row = group.change(people(group)[0], Membership(options=GroupOptions(name="Us")))
    await history.write([row], [], NOWHERE)
    assert await history.chats(UserId(group.chat_id), before=None, limit=9) == ([], False)
    assert await history.chats_by_id(UserId(group.chat_id), after="", limit=9) == ([], False)


async def test_who_is_only_invited_is_no_member(history: History) -> None:
    group = new_group()
    ann, bob, *_ = people(group)
    created = Membership(options=GroupOptions(name="Us"), invited_ids=[bob])
    await history.write([group.change(ann, created)], [], NOWHERE)
    assert await history.groups.seen(bob, group.chat_id) is None
    assert await history.chats(bob, before=None, limit=9) == ([], False)
    invited = Standing(group.rows[0].message_id, ROLE_UNSPECIFIED, is_invited=True)
    assert (bob, invited) in await all_people(history, group.chat_id, group.rows[0].message_id)


async def test_whoever_comes_and_goes_hides_no_unread_message(history: History) -> None:
    group = new_group()
    ann, bob, *_ = people(group)
    options = GroupOptions(name="Us", is_open=True)
    group.change(ann, Membership(options=options, added_ids=[bob]))
    group.say(ann, mentioned=[bob])
    for _ in range(UNREAD_MAX):
        group.change(bob, Membership(added_ids=[bob]))
    await history.write(group.rows, [], NOWHERE)
    (line,), _ = await history.chats(bob, before=None, limit=1)
    assert (line.unread_count, line.unread_mention_count) == (1, 1)


async def test_what_is_deleted_is_not_unread_and_a_change_is_no_last_message(
    history: History,
) -> None:
    group = new_group()
    ann, bob, *_ = people(group)
    group.change(ann, Membership(options=GroupOptions(name="Us"), added_ids=[bob]))
    said = [group.say(ann) for _ in range(3)]
    about = About(said[0].message_id, "deletion", "")
    recipients, id_ = (UserId(group.chat_id),), group.next_id()
    deletion = MessageRow(id_, group.chat_id, bob, recipients, b"event", about)
    await history.write([*group.rows, deletion], [], NOWHERE)
    ((line,), _) = await history.chats(bob, before=None, limit=9)
    assert (line.unread_count, line.last_message_id) == (2, said[-1].message_id)
    assert line.last_change_id == deletion.message_id
    sight = await history.groups.seen(bob, group.chat_id)
    assert sight
    assert sight.covers(deletion.message_id)


async def test_who_has_left_counts_no_mention_that_was_edited_since(history: History) -> None:
    group = new_group()
    ann, bob, *_ = people(group)
    group.change(ann, Membership(options=GroupOptions(name="Us"), added_ids=[bob]))
    said = [group.say(ann, mentioned=[bob]), group.say(ann), group.say(ann)]

    def edit(row: MessageRow, *names: UserId) -> MessageRow:
        about, recipients = About(row.message_id, "edit", ann), row.recipient_ids
        key = (group.next_id(), group.chat_id, ann, recipients)
        return MessageRow(*key, b"event", about, mentioned=names)

    before = edit(said[1], bob)
    group.change(ann, Membership(removed_ids=[bob]))
    await history.write([*group.rows, before], [], NOWHERE)
    ((line,), _) = await history.chats(bob, before=None, limit=9)
    assert (line.unread_count, line.unread_mention_count) == (3, 2)
    since = ((edit(said[0]), 2), (edit(said[2], bob), 2), (edit(said[1]), 1))
    for row, mentions in since:  # at last, that message has its first text
        await history.write([row], [], NOWHERE)
        ((line,), _) = await history.chats(bob, before=None, limit=9)
        assert (line.unread_count, line.unread_mention_count) == (3, mentions)


async def test_who_is_removed_while_they_read_reads_nothing_later(history: History) -> None:
    group = new_group()
    ann, bob, *_ = people(group)
    group.change(ann, Membership(options=GroupOptions(name="Us"), added_ids=[bob]))
    await history.write(group.rows, [], NOWHERE)
    sight = await history.groups.seen(bob, group.chat_id)
    later = [group.change(ann, Membership(removed_ids=[bob])), group.say(ann)]
    await history.write(later, [], NOWHERE)
    assert sight
    assert not any(sight.covers(row.message_id) for row in later)


async def test_marks_of_a_large_group_are_only_ones_own(history: History) -> None:
    chat = new_group().chat_id
    marks = [MarkRow(chat, UserId(f"u{number:03}"), 0, 5) for number in range(MARKS_MAX + 1)]
    await history.write([], marks[:-1], NOWHERE)
    assert await history.marks_in_group(chat, marks[7].user_id) == marks[:-1]
    await history.write([], marks[-1:], NOWHERE)
    assert await history.marks_in_group(chat, marks[7].user_id) == [marks[7]]
    assert await history.marks_in_group(chat, UserId("nobody")) == []
    await history.write([], [marks[0]._replace(read_up_to=7)], NOWHERE)
    counted = [await history.groups.count_read(chat, each) for each in (5, 6, 8)]
    assert counted == [MARKS_MAX + 1, 1, 0]


async def test_more_members_than_are_read_at_once(history: History) -> None:
    group = new_group()
    ann = people(group)[0]
    group.partition_of |= {f"u{number:05}": group.home for number in range(2_300)}
    group.change(ann, Membership(options=GroupOptions(name="Us")))
    users = [each for each in people(group) if each.startswith("u")]
    for at in range(0, len(users), 100):
        group.change(ann, Membership(added_ids=users[at : at + 100]))
    await history.write(group.rows, [], NOWHERE)
    last = group.rows[-1].message_id
    async for found in history.groups.homed_in(group.home, last):
        if found.chat_id == group.chat_id:
            assert found.roles == group.group.roles
    living = [
        each.user_id
        async for each in history.groups.living_in(group.home, {group.home: last})
        if each.chat_id == group.chat_id
    ]
    at_home = [user for user, place in group.partition_of.items() if place == group.home]
    assert living == sorted(user for user in at_home if user in group.group.roles)
    page, more = await history.groups.people(group.chat_id, at=last, after="u01000", limit=200)
    assert [user for user, _ in page] == users[1_001:1_201]
    assert more


async def test_what_a_change_comes_to_is_lacking_and_is_restored(
    history: History,
    damage: Damage,  # noqa: F811
) -> None:
    group = new_group()
    ann, bob, *_ = people(group)
    group.change(ann, Membership(options=GroupOptions(name="Us"), added_ids=[bob]))
    group.change(ann, Membership(appointments=[Appointment(user_id=bob, role=ROLE_ADMIN)]))
    group.say(bob)
    await history.write(group.rows, [], NOWHERE)
    created, appointed, said = group.rows
    await damage.delete_member(group.chat_id, bob, appointed.message_id)
    assert await history.lacking(group.rows, []) == NOTHING._replace(absent=[appointed])
    await damage.delete_options(group.chat_id, created.message_id)
    lacking = await history.lacking(group.rows, [])
    assert lacking.absent == [created, appointed]
    await damage.delete_chat(group.chat_id, group.chat_id)
    lacking = await history.lacking(group.rows, [])
    assert lacking.chats == [(UserId(group.chat_id), said)]
    await history.restore(group.rows, [])
    assert await history.lacking(group.rows, []) == NOTHING
    await check(history, group, [])
