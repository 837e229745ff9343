"""What ports/history.py promises, of every adapter, against a model that is a few dicts."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.log.place import Place
from cecochat.ports.history import UNREAD_MAX, ChatRow, History, MarkRow, MessageRow, Page, Progress
from tests.contract.conftest import OpenHistory
from tests.contract.openers import cassandra

NOWHERE = Progress("a log", 0, 0)
NOW_MS = 1_700_000_000_000
USERS = "abcd"
worlds = itertools.count()  # each test and example has users, chats and logs of its own in there


@pytest.fixture(scope="module", autouse=True)
def dropped() -> Iterator[None]:
    """Nothing stays in a database that is shared."""
    yield
    asyncio.run(cassandra.drop())


on_one_database = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def dialog() -> ChatId:
    """A chat of two that nobody has used."""
    world = next(worlds)
    return ChatId(f"d:a{world}~b{world}")


def users(chat: ChatId) -> list[UserId]:
    """Of a dialog."""
    return list(map(UserId, chat[2:].split("~")))


def message(
    message_id: int, chat: ChatId, sender: str | None = None, mentioned: Iterable[str] = ()
) -> MessageRow:
    """`sender`: the first of the two, unless another is given."""
    sender = sender or users(chat)[0]
    recipients = tuple(user for user in users(chat) if user != sender)
    return MessageRow(
        message_id,
        chat,
        UserId(sender),
        recipients,
        b"event %d" % message_id,
        mentioned=tuple(map(UserId, sorted(mentioned))),
    )


def events(ids: Sequence[int]) -> list[bytes]:
    return [b"event %d" % message_id for message_id in ids]


@st.composite
def happenings(draw: st.DrawFn) -> tuple[list[MessageRow], list[MarkRow]]:
    """Messages with ids of their own in the dialogs of a few users, and marks in these dialogs."""
    world = next(worlds)
    everybody = [f"{user}{world}" for user in USERS]
    dialogs = [f"d:{x}~{y}" for x, y in itertools.combinations(everybody, 2)]
    ids = draw(st.lists(st.integers(1, 1 << 53), unique=True, max_size=20))
    messages = []
    for message_id in ids:
        chat = draw(st.sampled_from(dialogs))
        sender = draw(st.sampled_from(users(ChatId(chat))))
        mentioned = draw(st.sets(st.sampled_from(everybody)))
        messages.append(message(message_id, ChatId(chat), sender, mentioned))
    marks = []
    places = st.sampled_from([0, *ids, *(each + 1 for each in ids)])
    for _ in range(draw(st.integers(0, 8))):
        chat = draw(st.sampled_from(dialogs))
        user = draw(st.sampled_from(users(ChatId(chat))))
        said = draw(st.one_of(st.just(b""), st.binary(min_size=8, max_size=12)))
        marks.append(MarkRow(ChatId(chat), user, draw(places), draw(places), said))
    return messages, marks


def chats_of(user: UserId, messages: list[MessageRow], marks: list[MarkRow]) -> list[ChatRow]:
    """The model of `History.chats`."""
    rows = []
    for chat in {row.chat_id for row in messages if user in (row.user_id, *row.recipient_ids)}:
        here = [row for row in messages if row.chat_id == chat]
        last = max(here, key=lambda row: row.message_id)
        chat_marks = marks_of(chat, marks)
        read = max((mark.read_up_to for mark in chat_marks if mark.user_id == user), default=0)
        unread = [row for row in here if row.user_id != user and row.message_id > read]
        counts = len(unread), sum(user in row.mentioned for row in unread)
        rows.append(ChatRow(chat, last.message_id, last.event, *counts, chat_marks))
    return sorted(rows, key=lambda row: -row.last_message_id)


def marks_of(chat: ChatId, marks: list[MarkRow]) -> list[MarkRow]:
    """The model of `History.marks`."""
    here = [mark for mark in marks if mark.chat_id == chat]
    return [
        MarkRow(
            chat,
            user,
            max(mark.delivered_up_to for mark in here if mark.user_id == user),
            max(mark.read_up_to for mark in here if mark.user_id == user),
            max(mark.settings for mark in here if mark.user_id == user),
        )
        for user in sorted({mark.user_id for mark in here})
    ]


async def check(history: History, messages: list[MessageRow], marks: list[MarkRow]) -> None:
    """The history shows what the model says."""
    for chat in {row.chat_id for row in messages} | {mark.chat_id for mark in marks}:
        ids = sorted(row.message_id for row in messages if row.chat_id == chat)
        page = await history.messages(chat, before=None, after=None, limit=100)
        assert page == Page(events(ids), has_more=False)
        assert await history.marks(chat) == marks_of(chat, marks)
        whole = await history.chat_page(chat, before=None, after=None, limit=100)
        assert whole == (page, marks_of(chat, marks), await history.holes())
    for user in {user for row in messages for user in (row.user_id, *row.recipient_ids)}:
        rows = chats_of(user, messages, marks)
        assert await history.chats(user, before=None, limit=100) == (rows, False)


@on_one_database
@given(happened=happenings(), data=st.data())
async def test_writes_in_any_order_and_repeated_store_the_same(
    history: History, happened: tuple[list[MessageRow], list[MarkRow]], data: st.DataObject
) -> None:
    messages, marks = happened
    writes: list[MessageRow | MarkRow] = [*messages, *marks]
    again = data.draw(st.lists(st.sampled_from(writes), max_size=10)) if writes else []
    order = data.draw(st.permutations([*writes, *again]))
    size = data.draw(st.integers(1, 6))
    async with asyncio.TaskGroup() as tasks:
        for start in range(0, len(order), size):
            part = order[start : start + size]
            some_messages = [each for each in part if isinstance(each, MessageRow)]
            some_marks = [each for each in part if isinstance(each, MarkRow)]
            tasks.create_task(history.write(some_messages, some_marks, NOWHERE))
    await check(history, messages, marks)


@on_one_database
@given(
    ids=st.lists(st.integers(1, 1 << 62), unique=True, max_size=30),
    limit=st.integers(1, 12),
    forwards=st.booleans(),
)
async def test_pages_joined_are_everything_once_in_order(
    history: History, ids: list[int], limit: int, forwards: bool
) -> None:
    world = next(worlds)
    chat = f"d:a~b{world}"
    await history.write([message(each, ChatId(chat)) for each in ids], [], NOWHERE)
    await history.write([message(each, ChatId(f"d:a~c{world}")) for each in ids], [], NOWHERE)
    found: list[int] = []
    bound: int | None = 0 if forwards else None
    while True:
        before, after = (None, bound) if forwards else (bound, None)
        page = await history.messages(ChatId(chat), before=before, after=after, limit=limit)
        assert len(page.events) <= limit
        assert page.events or not page.has_more
        numbers = [int(event.split()[1]) for event in page.events]
        found = [*found, *numbers] if forwards else [*numbers, *found]
        if not page.has_more:
            break
        assert len(page.events) == limit, "a page that is not the last is full"
        bound = numbers[-1] if forwards else numbers[0]
    assert found == sorted(ids)


@on_one_database
@given(ids=st.lists(st.integers(1, 1 << 62), unique=True, max_size=20), limit=st.integers(1, 7))
async def test_pages_of_chats_joined_are_all_chats_newest_first(
    history: History, ids: list[int], limit: int
) -> None:
    user = f"u{next(worlds)}"
    rows = [message(each, ChatId(f"d:{user}~{number:03}"), user) for number, each in enumerate(ids)]
    await history.write(rows, [], NOWHERE)
    found: list[int] = []
    more, before = True, None
    while more:
        chats, more = await history.chats(UserId(user), before=before, limit=limit)
        assert len(chats) <= limit
        found += [chat.last_message_id for chat in chats]
        before = found[-1] if found else None
    assert found == sorted(ids, reverse=True)


async def test_bounds_are_exclusive_and_need_not_exist(history: History) -> None:
    chat = dialog()
    await history.write([message(each, chat) for each in (10, 20, 30, 40)], [], NOWHERE)

    async def page(before: int | None = None, after: int | None = None, limit: int = 2) -> Page:
        return await history.messages(chat, before=before, after=after, limit=limit)

    assert await page() == Page(events([30, 40]), has_more=True)
    assert await page(before=30) == Page(events([10, 20]), has_more=False)
    assert await page(before=31) == Page(events([20, 30]), has_more=True)
    assert await page(after=10) == Page(events([20, 30]), has_more=True)
    assert await page(after=19) == Page(events([20, 30]), has_more=True)
    assert await page(after=20) == Page(events([30, 40]), has_more=False)
    assert await page(after=40) == Page([], has_more=False)
    assert await page(before=10) == Page([], has_more=False)
    assert await history.messages(dialog(), before=None, after=None, limit=2) == Page([], False)


async def test_all_chats_with_a_message_are_named_once(history: History) -> None:
    """More of them than come in one page."""
    chats = [dialog() for _ in range(450)]
    messages = [message(id_, chat) for chat in chats for id_ in (1, 1 << 50)]  # far apart
    await history.write(messages, [], NOWHERE)
    named = [chat async for page in history.chat_ids() for chat in page]
    assert len(named) == len(set(named))
    assert set(chats) <= set(named)


async def test_single_messages_are_read_by_their_ids(history: History) -> None:
    chat, other = dialog(), dialog()
    rows = [message(id_, chat) for id_ in (1, 5, 1 << 50)]
    await history.write([*rows, message(7, other)], [], NOWHERE)
    asked = [1 << 50, 2, 1, 7]
    expected = {row.message_id: row.event for row in rows if row.message_id != 5}
    assert await history.these(chat, asked) == expected
    assert await history.these(chat, []) == {}


async def test_a_row_that_is_there_stays_as_it_is(history: History) -> None:
    chat = dialog()
    await history.write([message(10, chat)], [], NOWHERE)
    for event in (b"another", b"someone else's"):  # one sorts below the first, one above
        await history.write([message(10, chat)._replace(event=event)], [], NOWHERE)
    page = await history.messages(chat, before=None, after=None, limit=1)
    assert page == Page(events([10]), has_more=False)


async def test_texts_are_not_interpreted(history: History) -> None:
    chat, every_byte = dialog(), bytes(range(256))
    await history.write([message(1, chat)._replace(event=every_byte)], [], NOWHERE)
    page = await history.messages(chat, before=None, after=None, limit=1)
    assert page.events == [every_byte]


async def test_unread_messages_are_counted_among_the_last(history: History) -> None:
    dialog_ = dialog()
    a, b = users(dialog_)
    rows = [message(each, dialog_, a) for each in range(1, UNREAD_MAX + 51)]
    await history.write([*rows, message(UNREAD_MAX + 51, dialog_, b)], [], NOWHERE)
    (chat,), _ = await history.chats(b, before=None, limit=1)
    assert chat.unread_count == UNREAD_MAX - 1
    await history.write([], [MarkRow(dialog_, b, 0, 60)], NOWHERE)
    (chat,), _ = await history.chats(b, before=None, limit=1)
    assert chat.unread_count == UNREAD_MAX - 10
    (chat,), _ = await history.chats(a, before=None, limit=1)
    assert chat.unread_count == 1


async def test_of_own_messages_no_more_are_looked_at_than_that(history: History) -> None:
    """Who has written so many has seen what was before: counting is bounded by what is read."""
    dialog_ = dialog()
    a, b = users(dialog_)
    own = [message(each, dialog_, b) for each in range(2, UNREAD_MAX + 2)]
    await history.write([message(1, dialog_, a), *own[:-1]], [], NOWHERE)
    (chat,), _ = await history.chats(b, before=None, limit=1)
    assert chat.unread_count == 1
    await history.write([own[-1]], [], NOWHERE)
    (chat,), _ = await history.chats(b, before=None, limit=1)
    assert chat.unread_count == 0


async def test_progress_is_kept_for_each_log_and_only_moves_up(history: History) -> None:
    log, another = (f"log {next(worlds)}" for _ in range(2))
    assert await history.progress(log) == {}
    async with asyncio.TaskGroup() as tasks:
        for offset in (5, 9, 7):
            tasks.create_task(history.write([], [], Progress(log, 3, offset, NOW_MS)))
    await history.write([message(1, dialog())], [], Progress(another, 3, 70, NOW_MS - 1))
    await history.write([message(2, dialog())], [], Progress(log, 4, 0, NOW_MS + 1))
    assert await history.progress(log) == {3: Place(NOW_MS, 9), 4: Place(NOW_MS + 1, 0)}
    assert await history.progress(another) == {3: Place(NOW_MS - 1, 70)}


@pytest.mark.parametrize("at_once", [False, True])
async def test_progress_moves_up_by_the_clock_and_then_by_the_offset(
    history: History, at_once: bool
) -> None:
    """A log that lost its end gives offsets again, under later clocks."""
    log = f"log {next(worlds)}"
    steps = [
        (Place(0, 80), Place(0, 80)),  # of a first version
        (Place(NOW_MS, 70), Place(NOW_MS, 70)),
        (Place(NOW_MS, 71), Place(NOW_MS, 71)),
        (Place(NOW_MS, 69), Place(NOW_MS, 71)),
        (Place(NOW_MS + 5, 20), Place(NOW_MS + 5, 20)),
        (Place(NOW_MS + 1, 90), Place(NOW_MS + 5, 20)),
        (Place(0, 99), Place(NOW_MS + 5, 20)),
    ]
    writes = (history.write([], [], Progress(log, 3, at.offset, at.clock_ms)) for at, _ in steps)
    if at_once:
        await asyncio.gather(*writes)
        assert await history.progress(log) == {3: steps[-1][1]}
        return
    for write, (_, reached) in zip(writes, steps, strict=True):
        await write
        assert await history.progress(log) == {3: reached}


async def test_what_was_written_outlives_the_object(open_history: OpenHistory) -> None:
    history, chat, log = await open_history(), dialog(), f"log {next(worlds)}"
    a, b = users(chat)
    messages = [message(each, chat, (a, b)[each % 2]) for each in range(1, 60)]
    marks = [MarkRow(chat, a, 20, 10), MarkRow(chat, b, 5, 30)]
    await history.write(messages, marks, Progress(log, 1, 17, NOW_MS))
    await history.close()
    await history.close()
    history = await open_history()
    await check(history, messages, marks)
    assert await history.progress(log) == {1: Place(NOW_MS, 17)}


async def test_a_cancelled_write_can_be_made_again(history: History) -> None:
    chat = dialog()
    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(history.write([message(1, chat)], [], NOWHERE))
        await asyncio.sleep(0)
        writing.cancel()
    await history.write([message(1, chat), message(2, chat)], [], NOWHERE)
    await check(history, [message(1, chat), message(2, chat)], [])


@pytest.mark.parametrize("part", ["newest", "middle"])
async def test_a_page_of_a_long_chat_is_as_quick_as_of_a_short_one(
    history: History, part: str
) -> None:
    """p99 within 10 ms with 6,000 messages in the chat; generous here: it judges the index."""
    chat = dialog()
    await history.write([message(each, chat) for each in range(1, 6_001)], [], NOWHERE)
    before = None if part == "newest" else 3_000
    took_s = []
    for _ in range(100):
        start = time.perf_counter()
        page = await history.messages(chat, before=before, after=None, limit=50)
        took_s.append(time.perf_counter() - start)
        assert len(page.events) == 50
    assert sorted(took_s)[50] < 0.5  # the figure is in docs/benchmarks.md


async def test_when_it_was_written_is_right_where_it_is_known(history: History) -> None:
    chat = dialog()
    before_ms = int(time.time() * 1_000)
    await history.write([message(1 << 40, chat)], [], NOWHERE)
    written = await history.written_at_ms(chat, 1 << 40)
    assert written is None or before_ms <= written <= time.time() * 1_000
    assert await history.written_at_ms(chat, (1 << 40) + 1) is None
