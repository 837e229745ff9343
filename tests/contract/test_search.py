"""What ports/search.py promises, of every adapter, against a model that is a list."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.log.place import Place
from cecochat.domain.search.entries import Entry, Gone, Text, of_dialogs, scopes
from cecochat.domain.search.words import Query, query, words
from cecochat.ports.history import Progress
from cecochat.ports.search import Found, Search, Superseded, Turn
from tests.contract.conftest import OpenSearch
from tests.contract.test_history import on_one_database

WORDS = ("pan", "pancake", "cake", "你", "好", "हिन्दी", "🎉")
QUERIES = ("pan", "cake", "PAN cake", "pan-cake", "你好", "हि", "🎉 c", "nothing")
ID_MAX = (1 << 63) - 1
AT_ONCE = 2
worlds = itertools.count()  # each example has chats of its own in there


@st.composite
def happenings(draw: st.DrawFn) -> list[Entry]:
    """Messages, edits and deletions of two dialogs and a group, in the order of their ids."""
    world = next(worlds)
    chats = [f"d:a{world}~b{world}", f"d:a{world}~c{world}", f"g:{world}"]
    messages: list[tuple[int, ChatId]] = []
    entries: list[Entry] = []
    for id_ in range(world * 1_000 + 1, world * 1_000 + 1 + draw(st.integers(1, 15))):
        user = UserId(draw(st.sampled_from(["a", "b"])) + str(world))
        text = " ".join(draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4)))
        match draw(st.sampled_from(["message", "message", "edit", "deletion"])):
            case "edit" if messages:
                of, chat_id = draw(st.sampled_from(messages))
                entries.append(Text(id_, of, chat_id, user, text))
            case "deletion" if messages:
                of, _ = draw(st.sampled_from(messages))
                entries.append(Gone(of, draw(st.sampled_from([user, None]))))
            case _:
                chat_id = ChatId(draw(st.sampled_from(chats)))
                messages.append((id_, chat_id))
                entries.append(Text(id_, id_, chat_id, user, text))
    return entries


def left(entries: Iterable[Entry]) -> list[Text]:
    """The model of what the index has."""
    kept: list[Text] = []
    for each in entries:
        if isinstance(each, Text):
            kept.append(each)
        else:
            kept = [
                text
                for text in kept
                if text.message_id != each.message_id or each.user_id not in (None, text.user_id)
            ]
    return kept


def matches(wanted: Query, text: str) -> bool:
    """The model of what is found."""
    of_text = text.split(" ")
    return all(
        any(
            follows(phrase, of_text[at:], wanted.is_open and phrase is wanted.phrases[-1])
            for at in range(len(of_text))
        )
        for phrase in wanted.phrases
    )


def follows(phrase: Sequence[str], of_text: Sequence[str], is_open: bool) -> bool:
    *first, last = phrase
    here = of_text[: len(phrase)]
    if len(here) < len(phrase) or here[:-1] != first:
        return False
    return here[-1].startswith(last) if is_open else here[-1] == last


def expected(texts: Iterable[Text], wanted: Query, within: Sequence[str]) -> list[Found]:
    found: dict[int, list[Text]] = {}
    for each in texts:
        if matches(wanted, each.words) and not set(scopes(each.chat_id)).isdisjoint(within):
            found.setdefault(each.message_id, []).append(each)
    return [
        Found(id_, of[0].chat_id, tuple(sorted(each.event_id for each in of)))
        for id_, of in sorted(found.items(), reverse=True)
    ]


async def all_found(
    search: Search, wanted: Query, within: Sequence[str], *, before: int = ID_MAX, after: int = 0
) -> list[Found]:
    found: list[Found] = []
    while True:
        page = await search.find(wanted, within, before=before, after=after, limit=AT_ONCE)
        assert len(page) <= AT_ONCE
        found += [each._replace(event_ids=tuple(sorted(each.event_ids))) for each in page]
        if len(page) < AT_ONCE:
            return found
        before = page[-1].message_id


@pytest.fixture
async def turn(search: Search) -> Turn:
    """The turn of whoever makes the index."""
    return await search.clear()


@on_one_database
@given(entries=happenings(), data=st.data())
async def test_it_finds_what_matches_in_the_scopes_newest_first(
    search: Search, turn: Turn, entries: list[Entry], data: st.DataObject
) -> None:
    size = data.draw(st.integers(1, 5))
    for at in range(0, len(entries), size):
        await search.write(entries[at : at + size], None, turn)
    known = next(each.chat_id for each in entries if isinstance(each, Text))
    choices = [[str(known)], [*scopes(known)], [of_dialogs(UserId("nobody")), known], []]
    within = data.draw(st.sampled_from(choices))
    for text in QUERIES:
        wanted = query(text)
        should = expected(left(entries), wanted, within)
        assert await all_found(search, wanted, within) == should
        before, after = entries[-1][0], entries[0][0]
        between = [each for each in should if after < each.message_id < before]
        assert await all_found(search, wanted, within, before=before, after=after) == between


@on_one_database
@given(entries=happenings(), data=st.data())
async def test_what_is_written_again_is_there_once(
    search: Search, turn: Turn, entries: list[Entry], data: st.DataObject
) -> None:
    await search.write(entries, None, turn)
    start = data.draw(st.integers(0, len(entries)))
    await search.write(entries[start:], None, turn)
    every = sorted({scope for each in left(entries) for scope in scopes(each.chat_id)})
    for text in QUERIES:
        should = expected(left(entries), query(text), every)
        assert await all_found(search, query(text), every) == should


def text(id_: int, said: str, user: str = "ann", chat: str = "d:ann~bob") -> Text:
    return Text(id_, id_, ChatId(chat), UserId(user), " ".join(words(said)))


@pytest.mark.parametrize("said", ['say "no" OR NOT NEAR(x)*', "a:b AND {c} ^d", "' -- %_ \\", "-"])
async def test_texts_and_queries_are_not_interpreted(search: Search, turn: Turn, said: str) -> None:
    await search.write([text(1, f"{said} end"), text(2, "something else")], None, turn)
    found = await all_found(search, query(f"{said} end"), ["d:ann~bob"])
    assert [each.message_id for each in found] == [1]


async def test_many_scopes_are_no_obstacle(search: Search, turn: Turn) -> None:
    await search.write([text(n, "hello", chat=f"g:{n}") for n in range(1, 2_001)], None, turn)
    within = [f"g:{n}" for n in range(0, 4_000, 2)]
    found = await search.find(query("hello"), within, before=ID_MAX, after=0, limit=2_000)
    assert [each.message_id for each in found] == list(range(2_000, 0, -2))


async def test_progress_is_stored_with_what_it_covers(open_search: OpenSearch) -> None:
    first = await open_search()
    turn = await first.clear()
    assert await first.progress("a log") == {}
    await first.write([text(1, "hello")], Progress("a log", 3, 17, 99), turn)
    await first.write([], Progress("another", 0, 5), turn)
    await first.write([], None, turn)
    await first.close()
    again = await open_search()
    assert await again.progress("a log") == {3: Place(99, 17)}
    assert len(await all_found(again, query("hello"), ["d:ann~bob"])) == 1


async def test_forgetting_removes_what_one_user_wrote(search: Search, turn: Turn) -> None:
    edited = Text(3, 1, ChatId("d:ann~bob"), UserId("ann"), "hello again")
    await search.write([text(1, "hello"), text(2, "hello", "bob"), edited], None, turn)
    everybody = list(map(UserId, ("ann", "bob", "eve")))
    assert await search.authors(everybody) == {"ann", "bob"}
    await search.forget([UserId("ann"), UserId("eve")])
    assert await search.authors(everybody) == {"bob"}
    found = await all_found(search, query("hello"), ["d:ann~bob"])
    assert found == [Found(2, ChatId("d:ann~bob"), (2,))]


async def test_clearing_removes_everything_with_the_progress(search: Search, turn: Turn) -> None:
    await search.write([text(1, "hello")], Progress("a log", 0, 1), turn)
    turn = await search.clear()
    assert await search.progress("a log") == {}
    assert await all_found(search, query("hello"), ["d:ann~bob"]) == []
    await search.write([text(1, "hello")], None, turn)
    assert len(await all_found(search, query("hello"), ["d:ann~bob"])) == 1


async def test_anybody_may_remove_what_is_gone(search: Search, turn: Turn) -> None:
    await search.write([text(1, "hello")], Progress("a log", 0, 1), turn)
    assert await search.take("a log", 0)
    await search.write([Gone(1, None)], None, None)
    assert await all_found(search, query("hello"), ["d:ann~bob"]) == []


async def test_who_clears_it_ends_the_turns_of_all_others(search: Search, turn: Turn) -> None:
    await search.write([], Progress("a log", 0, 1), turn)
    taken = await search.take("a log", 0)
    assert taken
    later = await search.clear()
    for old, progress in ((turn, None), (turn, Progress("a log", 0, 2)), (taken[0], None)):
        with pytest.raises(Superseded):
            await search.write([text(1, "hello")], progress, old)
    with pytest.raises(Superseded):
        await search.write([text(1, "hello")], Progress("a log", 0, 2), taken[0])
    assert await all_found(search, query("hello"), ["d:ann~bob"]) == []
    assert await search.progress("a log") == {}
    assert await search.take("a log", 0) is None
    await search.write([text(2, "hello")], Progress("a log", 0, 1), later)
    assert await search.take("a log", 0)


async def test_who_takes_a_partition_ends_the_turn_before(search: Search, turn: Turn) -> None:
    for partition in (0, 1):
        await search.write([], Progress("a log", partition, 1, 5), turn)
    first, other = await search.take("a log", 0), await search.take("a log", 1)
    assert first
    assert other
    assert first[1] == Place(5, 1)
    await search.write([text(1, "hello")], Progress("a log", 0, 2, 6), first[0])
    second = await search.take("a log", 0)
    assert second
    assert second[1] == Place(6, 2)
    await search.write([Gone(1, None)], Progress("a log", 0, 3, 7), second[0])
    for old in (first[0], other[0], turn):
        with pytest.raises(Superseded):
            await search.write([text(1, "hello")], Progress("a log", 0, 4, 8), old)
    assert await all_found(search, query("hello"), ["d:ann~bob"]) == []
    await search.write([], Progress("a log", 1, 2, 9), other[0])
    assert await search.progress("a log") == {0: Place(7, 3), 1: Place(9, 2)}


async def test_one_at_a_time_makes_it(search: Search) -> None:
    inside: list[str] = []

    async def makes(name: str, is_in: asyncio.Event) -> None:
        async with search.alone():
            inside.append(name)
            assert len(inside) == 1
            await search.clear()
            is_in.set()
            await asyncio.sleep(0)
            inside.remove(name)

    entered = [asyncio.Event() for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        for number, is_in in enumerate(entered):
            group.create_task(makes(str(number), is_in))
    assert all(is_in.is_set() for is_in in entered)


async def test_who_waits_to_make_it_can_be_stopped(search: Search) -> None:
    async with search.alone():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), search.alone():
                raise AssertionError("two make it")
    async with search.alone():
        pass
