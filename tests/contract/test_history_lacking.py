"""What a history says that it lacks, and how it takes that again; on every adapter of the port."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
from hypothesis import given

from cecochat.adapters.cassandra.history import CassandraHistory
from cecochat.domain.log.ids import ChatId, UserId, message_id, stamp_at
from cecochat.ports.history import History, Lacking, MarkRow, MessageRow, Page
from tests.contract.openers import Place, cassandra
from tests.contract.test_history import (
    NOWHERE,
    dialog,
    happenings,
    message,
    on_one_database,
    users,
)
from tests.support.damage import Damage, SqliteDamage, to_cassandra

NOTHING = Lacking([], [], [], [])
NOW = message_id(stamp_at(time.time_ns() // 1_000_000 - 60_000), 3)


@pytest.fixture(scope="module", autouse=True)
def dropped() -> Iterator[None]:
    """Nothing stays in a database that is shared."""
    yield
    asyncio.run(cassandra.drop())


@pytest.fixture
async def damage(history: History, place: Place) -> AsyncIterator[Damage]:
    """To that history."""
    async with AsyncExitStack() as stack:
        if isinstance(history, CassandraHistory):
            address = place.backends.address("cassandra")
            yield await stack.enter_async_context(to_cassandra(address, cassandra.NAMESPACE))
        else:
            yield SqliteDamage(place.folder / "history")


@on_one_database
@given(happened=happenings())
async def test_what_was_written_is_not_lacking_and_what_was_not_is(
    history: History, happened: tuple[list[MessageRow], list[MarkRow]]
) -> None:
    messages, marks = happened
    written, left = messages[::2], messages[1::2]
    await history.write(written, marks, NOWHERE)
    assert await history.lacking(written, marks) == NOTHING
    lacking = await history.lacking([*written, *left], marks)
    assert sorted(lacking.absent) == sorted(left)
    behind = {(user, row.chat_id) for user, row in lacking.chats}
    for user, row in lacking.chats:
        of_user = [w.message_id for w in written if _concerns(w, user, row.chat_id)]
        assert row.message_id > max(of_user, default=0)
    for row in left:
        newest = all(row.message_id >= w.message_id for w in written if w.chat_id == row.chat_id)
        if newest:
            assert {(user, row.chat_id) for user in users(row.chat_id)} <= behind
    assert (lacking.other, lacking.marks) == ([], [])


def _concerns(row: MessageRow, user: UserId, chat: ChatId) -> bool:
    return row.chat_id == chat and user in (row.user_id, *row.recipient_ids)


async def test_lower_marks_and_marks_that_are_not_there_are_lacking(history: History) -> None:
    chat = dialog()
    one, other = users(chat)
    await history.write([], [MarkRow(chat, one, 7, 5, b"one")], NOWHERE)
    older, newer = MarkRow(chat, one, 0, 0, b"a"), MarkRow(chat, one, 0, 0, b"two")
    assert await history.lacking([], [older]) == NOTHING
    assert (await history.lacking([], [newer])).marks == [newer]
    wanted = [
        MarkRow(chat, one, 7, 6),
        MarkRow(chat, one, 6, 7),
        MarkRow(chat, other, 1, 0),
    ]
    assert (await history.lacking([], wanted)).marks == [
        MarkRow(chat, one, 7, 7),
        wanted[2],
    ]
    assert (
        await history.lacking([], [MarkRow(chat, one, 7, 5), MarkRow(chat, one, 2, 0)]) == NOTHING
    )


async def test_as_many_rows_as_an_audit_takes_at_a_time(history: History) -> None:
    chats = [dialog() for _ in range(70)]
    rows = [message(NOW + number, chats[number % 70]) for number in range(1_400)]
    rows += [message(NOW + number, chats[0]) for number in range(2_000, 2_600)]
    await history.write(rows, [], NOWHERE)
    assert await history.lacking(rows, []) == NOTHING
    more = message(NOW + 9_999, chats[3])
    assert (await history.lacking([*rows, more], [])).absent == [more]


async def test_harm_of_every_kind_is_lacking_and_is_restored(
    history: History, damage: Damage
) -> None:
    chat = dialog()
    one, other = users(chat)
    rows = [message(NOW + number, chat) for number in range(5)]
    last, mark = (
        rows[-1],
        MarkRow(chat, other, rows[3].message_id, rows[2].message_id),
    )
    await history.write(rows, [mark], NOWHERE)
    await damage.delete_message(chat, rows[1].message_id)
    await damage.spoil_message(chat, rows[2].message_id)
    await damage.delete_chat(other, chat)
    await damage.lower_mark(MarkRow(chat, other, rows[3].message_id, 1))
    lacking = await history.lacking(rows, [mark])
    assert lacking == Lacking([rows[1]], [rows[2]], [(other, last)], [mark])
    await history.restore([*lacking.absent, *lacking.other, last], lacking.marks)
    assert await history.lacking(rows, [mark]) == NOTHING
    page = await history.messages(chat, before=None, after=None, limit=9)
    assert page == Page([row.event for row in rows], has_more=False)
    assert await history.marks(chat) == [mark]
    for user in (one, other):
        ((found,), _) = await history.chats(user, before=None, limit=9)
        assert found.last_message_id == last.message_id


async def test_what_stands_higher_stays_so_when_earlier_rows_are_restored(
    history: History, damage: Damage
) -> None:
    chat = dialog()
    _, other = users(chat)
    rows = [message(NOW + number, chat) for number in range(3)]
    await history.write(rows, [MarkRow(chat, other, NOW + 2, NOW)], NOWHERE)
    await damage.delete_message(chat, rows[0].message_id)
    await damage.lower_mark(MarkRow(chat, other, NOW + 2, 0))
    await history.restore(rows[:1], [MarkRow(chat, other, 0, NOW)])
    assert await history.marks(chat) == [MarkRow(chat, other, NOW + 2, NOW)]
    ((found,), _) = await history.chats(other, before=None, limit=9)
    assert found.last_message_id == rows[-1].message_id


async def test_what_is_restored_is_written_over_by_nothing_earlier_and_moves_on(
    history: History, damage: Damage
) -> None:
    chat = dialog()
    _, other = users(chat)
    first = message(NOW, chat)
    await history.write([first], [], NOWHERE)
    await damage.spoil_message(chat, NOW)
    await damage.delete_chat(other, chat)
    await history.restore([first], [])
    later_id = message_id(stamp_at(time.time_ns() // 1_000_000 + 50), 3)
    later = message(later_id, chat)
    await history.write([first, later], [], NOWHERE)
    assert await history.lacking([first, later], []) == NOTHING
    ((found,), _) = await history.chats(other, before=None, limit=9)
    assert found.last_message_id == later_id


async def test_when_a_restored_row_was_written_is_right_where_it_is_known(
    history: History, damage: Damage
) -> None:
    chat = dialog()
    await history.write([message(NOW, chat)], [], NOWHERE)
    await damage.spoil_message(chat, NOW)
    before_ms = time.time_ns() // 1_000_000
    await history.restore([message(NOW, chat)], [])
    written = await history.written_at_ms(chat, NOW)
    assert written is None or before_ms <= written <= time.time_ns() // 1_000_000
