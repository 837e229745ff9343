"""What ports/history.py promises of changes of messages, of every adapter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.changes.about import KINDS, About, Kind
from cecochat.domain.log.ids import UserId, message_id, stamp_at
from cecochat.ports.history import CHANGES_MAX, History, MarkRow, MessageRow, Page
from tests.contract.conftest import OpenHistory
from tests.contract.openers import cassandra
from tests.contract.test_history import NOWHERE, dialog, events, message, on_one_database, users
from tests.contract.test_history_lacking import NOTHING, damage
from tests.support.damage import Damage

__all__ = ["damage"]
BEGAN_MS = 1_700_000_000_000


@pytest.fixture(scope="module", autouse=True)
def dropped() -> Iterator[None]:
    """Nothing stays in a database that is shared."""
    yield
    asyncio.run(cassandra.drop())


def change(
    id_: int, of: MessageRow, kind: Kind = "edit", key: str = "", mentioned: Iterable[UserId] = ()
) -> MessageRow:
    """Of that message, by its sender unless `key` says another."""
    key = key or of.user_id
    about = About(of.message_id, kind, key)
    event, names = b"event %d" % id_, tuple(sorted(mentioned))
    user = UserId(key)
    return MessageRow(id_, of.chat_id, user, of.recipient_ids, event, about, mentioned=names)


def by_admin(id_: int, of: MessageRow) -> MessageRow:
    about = About(of.message_id, "deletion", "")
    return MessageRow(id_, of.chat_id, of.user_id, of.recipient_ids, b"event %d" % id_, about)


@st.composite
def changed(draw: st.DrawFn) -> tuple[list[MessageRow], list[MessageRow]]:
    """A few messages of one chat, and changes of them."""
    chat = dialog()
    ids = draw(st.lists(st.integers(1, 1 << 53), unique=True, min_size=1, max_size=30))
    names = st.sets(st.sampled_from([*users(chat), UserId("c")]))
    messages = [message(id_, chat, mentioned=draw(names)) for id_ in ids[:3]]
    keys = st.sampled_from(["", "", "a", "b 👍", "b 👍🏽", "b"])
    changes = []
    for id_ in ids[3:]:
        of, kind = draw(st.sampled_from(messages)), draw(st.sampled_from(KINDS))
        mentioned = draw(names) if kind == "edit" else ()
        changes.append(change(id_, of, kind, draw(keys), mentioned))
    return messages, changes


def standing(messages: Sequence[MessageRow], changes: list[MessageRow]) -> dict[int, list[bytes]]:
    """The model of `History.changes`."""
    last: dict[About, MessageRow] = {}
    for row in sorted(changes, key=lambda row: row.message_id):
        assert row.about
        last[row.about] = row
    found = {
        each.message_id: [
            last[about].event for about in sorted(last) if about.message_id == each.message_id
        ]
        for each in messages
    }
    return {id_: changes for id_, changes in found.items() if changes}


def unread(messages: Sequence[MessageRow], changes: list[MessageRow]) -> tuple[int, int]:
    """How many of these messages count for who has read none of them, and how many mention them."""
    last = {row.about: row for row in sorted(changes, key=lambda row: row.message_id)}
    left = [row for row in messages if About(row.message_id, "deletion", row.user_id) not in last]
    now = [last.get(About(row.message_id, "edit", row.user_id), row) for row in left]
    return len(left), sum(row.recipient_ids[0] in row.mentioned for row in now)


@on_one_database
@given(happened=changed(), data=st.data())
async def test_changes_in_any_order_and_repeated_come_to_the_same(
    history: History, happened: tuple[list[MessageRow], list[MessageRow]], data: st.DataObject
) -> None:
    messages, changes = happened
    again = data.draw(st.lists(st.sampled_from([*messages, *changes]), max_size=5))
    order = data.draw(st.permutations([*messages, *changes, *again]))
    async with asyncio.TaskGroup() as tasks:
        for at in range(0, len(order), 4):
            tasks.create_task(history.write(order[at : at + 4], [], NOWHERE))
    chat, ids = messages[0].chat_id, [row.message_id for row in messages]
    assert await history.changes(chat, ids) == standing(messages, changes)
    page = await history.messages(chat, before=None, after=None, limit=100)
    assert page == Page(events(sorted(ids)), has_more=False)
    ((row,), _) = await history.chats(users(chat)[1], before=None, limit=9)
    assert (row.unread_count, row.unread_mention_count) == unread(messages, changes)
    assert await history.lacking([*messages, *changes], []) == NOTHING


@on_one_database
@given(happened=changed(), limit=st.integers(1, 7))
async def test_a_page_with_changes_has_all_in_the_order_of_their_ids(
    history: History, happened: tuple[list[MessageRow], list[MessageRow]], limit: int
) -> None:
    messages, changes = happened
    await history.write([*messages, *changes], [], NOWHERE)
    chat, ids = messages[0].chat_id, sorted(row.message_id for row in [*messages, *changes])
    read: list[bytes] = []
    after, more = 0, True
    while more:
        page = await history.messages(
            chat, before=None, after=after, limit=limit, with_changes=True
        )
        read += page.events
        more, after = page.has_more, ids[len(read) - 1]
        assert len(page.events) == limit or not more
    assert read == events(ids)


async def test_changes_are_paged_upwards_only(history: History) -> None:
    with pytest.raises(ValueError, match="with_changes"):
        await history.messages(dialog(), before=None, after=None, limit=1, with_changes=True)


async def test_a_change_moves_no_chat_and_is_named_in_its_row(history: History) -> None:
    chat = dialog()
    one, other = users(chat)
    first, edit = message(5, chat), change(9, message(5, chat))
    await history.write([edit], [], NOWHERE)  # before its message
    assert await history.chats(one, before=None, limit=9) == ([], False)
    await history.write([first], [], NOWHERE)
    for user in (one, other):
        for (row,), _ in (
            await history.chats(user, before=None, limit=9),
            await history.chats_by_id(user, after="", limit=9),
        ):
            assert (row.last_message_id, row.last_change_id) == (5, 9)
            assert row.changes == (b"event 9",)
    await history.write([message(7, chat)], [], NOWHERE)
    (row,), _ = await history.chats(one, before=None, limit=9)
    assert (row.last_message_id, row.last_change_id, row.changes) == (7, 9, ())


async def test_a_deleted_message_is_not_unread(history: History) -> None:
    chat = dialog()
    one, other = users(chat)
    said = [message(id_, chat) for id_ in range(1, 8)]
    await history.write(said, [MarkRow(chat, other, 0, 2)], NOWHERE)
    changes = [
        change(11, said[2], "deletion"),  # counts
        by_admin(12, said[3]),  # counts
        change(13, said[4], "deletion", other),  # of a message of somebody else
        change(14, said[5], "reaction", f"{other} 👍"),
        change(15, said[0], "deletion"),  # it has been read
        change(16, said[3], "deletion"),  # deleted twice
    ]
    await history.write(changes, [], NOWHERE)
    (row,), _ = await history.chats(other, before=None, limit=9)
    assert row.unread_count == 3
    (row,), _ = await history.chats(one, before=None, limit=9)
    assert row.unread_count == 0


async def test_a_mention_counts_as_the_message_is_now(history: History) -> None:
    chat = dialog()
    one, other = users(chat)
    longer = UserId(f"{other}{other}")  # whose id begins and ends like that
    said = [message(id_, chat, mentioned=[other if id_ % 2 else longer]) for id_ in range(1, 8)]
    await history.write(said, [MarkRow(chat, other, 0, 2)], NOWHERE)
    (row,), _ = await history.chats(other, before=None, limit=9)
    assert (row.unread_count, row.unread_mention_count) == (5, 3)
    changes = [
        change(11, said[2], mentioned=[one]),
        change(12, said[3], mentioned=[one, other]),
        change(13, said[4], "edit", other),  # by somebody who did not write it
        change(14, said[0], mentioned=[other]),  # it has been read
        change(15, said[6], "deletion"),
    ]
    await history.write(changes, [], NOWHERE)
    (row,), _ = await history.chats(other, before=None, limit=9)
    assert (row.unread_count, row.unread_mention_count) == (4, 2)
    await history.write([change(16, said[3]), change(9, said[3], mentioned=[other])], [], NOWHERE)
    (row,), _ = await history.chats(other, before=None, limit=9)
    assert (row.unread_count, row.unread_mention_count) == (4, 1)


async def test_who_is_mentioned_is_compared_and_restored(history: History, damage: Damage) -> None:
    chat = dialog()
    _, other = users(chat)
    now = message_id(stamp_at(time.time_ns() // 1_000_000 - 60_000), 3)
    said = [message(now, chat, mentioned=[other]), message(now + 1, chat)]
    edit = change(now + 2, said[1], mentioned=[other])
    rows = [*said, edit]
    await history.write(rows, [], NOWHERE)
    for of, wrong in ((said[0], ""), (said[1], other), (edit, ""), (edit, "somebody")):
        await damage.mention(of, wrong)
        lacking = await history.lacking(rows, [])
        assert (lacking.other, lacking.absent) == ([of], [])
        await history.restore([of], [])
        assert await history.lacking(rows, []) == NOTHING
        (row,), _ = await history.chats(other, before=None, limit=9)
        assert (row.unread_count, row.unread_mention_count) == (2, 2)


async def test_deletions_in_a_later_bucket_count_for_older_messages(history: History) -> None:
    chat = dialog()
    _, other = users(chat)
    day_ms = 24 * 3_600_000
    said = [message(message_id(stamp_at(BEGAN_MS + 30 * day_ms * n), 0), chat) for n in range(3)]
    gone = change(message_id(stamp_at(BEGAN_MS + 200 * day_ms), 0), said[0], "deletion")
    await history.write([*said, gone], [], NOWHERE)
    (row,), _ = await history.chats(other, before=None, limit=9)
    assert row.unread_count == 2
    ids = [each.message_id for each in said]
    assert await history.changes(chat, ids) == {ids[0]: [gone.event]}
    page = await history.messages(chat, before=None, after=0, limit=9, with_changes=True)
    assert page.events == [*(each.event for each in said), gone.event]


async def test_the_changes_read_of_a_message_are_bounded(history: History) -> None:
    """Whoever makes many on one message takes nothing from the others."""
    chat = dialog()
    crowded, quiet = message(1, chat), message(2, chat)
    many = [change(10 + n, crowded, "reaction", f"a {n:05}") for n in range(1_100)]
    edits = [change(5_000, crowded), change(5_001, quiet)]
    await history.write([crowded, quiet, *many, *edits], [], NOWHERE)
    found = await history.changes(chat, [1, 2])
    assert found == {
        1: [edits[0].event, *(row.event for row in many[: CHANGES_MAX - 1])],
        2: [edits[1].event],
    }


async def test_what_is_damaged_is_lacking_and_restored(history: History, damage: Damage) -> None:
    chat = dialog()
    now = message_id(stamp_at(time.time_ns() // 1_000_000 - 60_000), 3)
    said = message(now, chat)
    older, newer = change(now + 1, said), change(now + 2, said)
    await history.write([said, older], [], NOWHERE)
    assert await history.lacking([said, older], []) == NOTHING
    assert (await history.lacking([older, newer], [])).absent == [newer]
    await history.restore([newer], [])
    assert await history.lacking([said, older, newer], []) == NOTHING
    await damage.forget_changes(chat)
    lacking = await history.lacking([said, older, newer], [])
    assert sorted(lacking.absent) == [older, newer]
    assert (lacking.other, lacking.chats, lacking.marks) == ([], [], [])
    await history.restore(lacking.absent, [])
    assert await history.lacking([said, older, newer], []) == NOTHING
    assert await history.changes(chat, [now]) == {now: [newer.event]}
    later = change(now + (1 << 40), said)
    await history.write([later], [], NOWHERE)
    assert await history.changes(chat, [now]) == {now: [later.event]}


async def test_other_bytes_of_a_change_are_named_and_restored(history: History) -> None:
    chat = dialog()
    said = message(1, chat)
    edit = change(2, said)
    await history.write([said, edit._replace(event=b"other")], [], NOWHERE)
    lacking = await history.lacking([said, edit], [])
    assert (lacking.absent, lacking.other) == ([], [edit])
    await history.restore([edit], [])
    assert await history.lacking([edit], []) == NOTHING
    page = await history.messages(chat, before=None, after=1, limit=9, with_changes=True)
    assert page.events == [edit.event]
    assert await history.changes(chat, [1]) == {1: [edit.event]}


async def test_changes_outlive_a_restart(open_history: OpenHistory) -> None:
    chat = dialog()
    said, edit = message(1, chat), change(2, message(1, chat))
    history = await open_history()
    await history.write([said, edit], [], NOWHERE)
    await history.close()
    assert await (await open_history()).changes(chat, [1]) == {1: [edit.event]}
