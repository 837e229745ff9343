"""What ports/history.py promises of messages that say nothing any more, of every adapter."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from cecochat.domain.log.ids import UserId
from cecochat.ports.history import History, Lacking, MessageRow, Page
from tests.contract.openers import cassandra
from tests.contract.test_history import NOWHERE, dialog, message, users
from tests.contract.test_history_changes import change


@pytest.fixture(scope="module", autouse=True)
def dropped() -> Iterator[None]:
    """Nothing stays in a database that is shared."""
    yield
    asyncio.run(cassandra.drop())


def blank(row: MessageRow) -> MessageRow:
    return row._replace(event=b"nothing %d" % row.message_id, mentioned=())


async def counts(history: History, user: UserId) -> tuple[int, int]:
    ((row,), _) = await history.chats(user, before=None, limit=10)
    return row.unread_count, row.unread_mention_count


async def test_what_is_blank_stays_blank_and_counts_for_nobody(history: History) -> None:
    chat = dialog()
    reader = users(chat)[1]
    old, edited, new = (message(id_, chat, mentioned=[reader]) for id_ in (10, 20, 30))
    first, last = change(21, edited, mentioned=[reader]), change(22, edited, mentioned=[reader])
    written = [old, edited, new, first, last]
    await history.write(written, [], NOWHERE)
    assert await counts(history, reader) == (3, 3)

    blanks = [blank(row) for row in (old, edited, first, last)]
    await history.blank(blanks)
    await history.purge()
    await history.write(written, [], None)  # from a server that is late
    found = await history.messages(chat, before=None, after=0, limit=10, with_changes=True)
    expected = sorted([*blanks, new], key=lambda row: row.message_id)
    assert found == Page([row.event for row in expected], has_more=False)
    assert await history.changes(chat, [10, 20, 30]) == {20: [blank(last).event]}
    assert await history.these(chat, [10, 30]) == {10: blank(old).event, 30: new.event}
    assert await counts(history, reader) == (1, 1)
    assert await history.lacking([*blanks, new], []) == Lacking([], [], [], [])
    assert {row.message_id for row in (await history.lacking(written, [])).other} == {
        *(10, 20, 21, 22)
    }


async def test_a_blank_message_that_was_never_there_is_asked_for_no_more(history: History) -> None:
    chat = dialog()
    row = message(10, chat)
    await history.write([row], [], NOWHERE)
    await history.blank([blank(row)])
    await history.blank([blank(row)])
    found = await history.messages(chat, before=None, after=None, limit=10)
    assert found.events == [blank(row).event]
