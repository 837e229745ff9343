"""Searching in a running system: what was just said is found, and the index follows from the
history and the log, whatever becomes of its file.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cecochat.adapters.embedded.search import EmbeddedSearch
from cecochat.client import InvalidArgument
from cecochat.v1.history_pb2 import SearchMessagesRequest
from cecochat.v1.messaging_pb2 import ReadToken
from tests.integration.clients import device
from tests.integration.streams import message
from tests.integration.systems import Refused, Running, running
from tests.support.eventually import eventually

CHAT = "d:alice~bob"


async def ids(up: Running, user: str, text: str, **others: object) -> list[int]:
    request = SearchMessagesRequest(text=text, **others)  # type: ignore[arg-type]
    return [event.id for event in (await up.search(user, request)).messages]


async def find(up: Running, text: str, expected: list[int], user: str = "bob") -> None:
    """Wait until this is found."""

    async def is_found() -> bool:
        try:
            return await ids(up, user, text) == expected
        except Refused as refused:
            if refused.code == "UNAVAILABLE":  # it is still being indexed
                return False
            raise

    await eventually(is_found)


async def test_what_was_said_is_found_by_those_who_see_it(up: Running) -> None:
    async with device(up, "alice", listen=False) as alice:
        first = await alice.send("bob", "Pancakes at eight?")
        second = await alice.send("bob", "or cake")
        other = await alice.send("carol", "no pancakes for Bob")
        await find(up, "pancakes", [other, first], "alice")
        await find(up, "pancakes", [first], "bob")
        await alice.edit("bob", second, "or pancakes again")
        await find(up, "pancake", [second, first], "bob")
        await alice.delete("bob", first)
        await find(up, "pancake", [second], "bob")
        assert await ids(up, "bob", "cake") == []
        assert await ids(up, "alice", "pancakes", chat_id=CHAT) == [second]
        assert await ids(up, "alice", "pancakes", before=other) == [second]


async def test_an_answer_has_all_that_its_token_asks_for(up: Running) -> None:
    await find(up, "nothing", [])  # so that it is not being prepared any more
    async with up.stream("alice") as stream:
        for number in range(3):
            await stream.send(message(f"word{number}", CHAT))
            ack = (await stream.until_acks(number + 1))[-1].ack
            log_id = stream.welcome.position.log_id
            token = ReadToken(log_id=log_id, offsets={0: ack.offset}, clocks={0: ack.clock_ms})
            request = SearchMessagesRequest(text=f"word{number}", token=token)
            found = await up.patiently("bob", request)
            assert [event.id for event in found.messages] == [ack.message_id]
        token.offsets[0] += 1_000
        with pytest.raises(Refused) as refused:
            await up.search("bob", SearchMessagesRequest(text="word", token=token))
        assert refused.value.code == "BEHIND"


async def test_the_client_finds_what_it_has_sent_page_by_page(up: Running) -> None:
    async with device(up, "alice", listen=False) as alice:
        said = [await alice.send("bob", f"pancake {n}") for n in range(5)]
        await alice.edit("bob", said[3], "another pancake")
        first = await alice.search("pancake", 2)
        assert [each.text for each in first.messages] == ["pancake 4", "another pancake"]
        assert first.messages[1].revision_id
        assert first.has_more
        rest = await alice.search("pancake", chat="bob", before=first.messages[-1].id)
        assert [each.id for each in rest.messages] == said[2::-1]
        assert not rest.has_more
        with pytest.raises(InvalidArgument):
            await alice.search("  ")


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (SearchMessagesRequest(text=""), "INVALID_ARGUMENT"),
        (SearchMessagesRequest(text="?!"), "INVALID_ARGUMENT"),
        (SearchMessagesRequest(text="a" * 257), "INVALID_ARGUMENT"),
        (SearchMessagesRequest(text="a", limit=-1), "INVALID_ARGUMENT"),
        (SearchMessagesRequest(text="a", before=-1), "INVALID_ARGUMENT"),
        (SearchMessagesRequest(text="a", chat_id="x"), "INVALID_ARGUMENT"),
        (SearchMessagesRequest(text="a", chat_id="d:alice~carol"), "FORBIDDEN"),
        (SearchMessagesRequest(text="a", chat_id="g:us"), "NOT_FOUND"),
        (SearchMessagesRequest(text="a", token=ReadToken(log_id="x")), "INVALID_ARGUMENT"),
    ],
)
async def test_refusals(up: Running, request_: SearchMessagesRequest, code: str) -> None:
    await find(up, "nothing", [])
    with pytest.raises(Refused) as refused:
        await up.search("bob", request_)
    assert refused.value.code == code


async def test_a_search_counts_as_ten_queries(tmp_path: Path) -> None:
    async with running(tmp_path, {"queries.rate_per_user": 0.1, "queries.burst": 25}) as up:
        await find(up, "pan", [], "alice")  # so that it is not being prepared any more
        for _ in range(2):
            await ids(up, "bob", "pan")
        with pytest.raises(Refused) as refused:
            await ids(up, "bob", "pan")
        assert refused.value.code == "RATE_LIMITED"


async def test_a_system_without_search_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, search=False) as up:
        with pytest.raises(Refused) as refused:
            await ids(up, "bob", "pan")
        assert refused.value.code == "UNIMPLEMENTED"
        assert not refused.value.error.retriable
    assert not (tmp_path / "search.db").exists()


@asynccontextmanager
async def with_messages(folder: Path) -> AsyncIterator[list[int]]:
    """A system has run there: the ids of what it found."""
    async with running(folder) as up, device(up, "alice", listen=False) as alice:
        said = [await alice.send("bob", f"pancake {n}") for n in range(5)]
        await alice.edit("bob", said[0], "a cake")
        await alice.delete("bob", said[1])
        await find(up, "pancake", said[:1:-1])
    yield said


async def test_without_its_file_the_index_is_made_again(tmp_path: Path) -> None:
    async with with_messages(tmp_path) as said:
        (tmp_path / "search.db").unlink()
        async with running(tmp_path) as up:
            await find(up, "pancake", said[:1:-1])
            assert await ids(up, "bob", "cake") == [said[0]]
            async with device(up, "alice", listen=False) as alice:
                said.append(await alice.send("bob", "pancake"))
            await find(up, "pancake", said[:1:-1])


async def test_what_was_said_while_it_was_off_is_found_later(tmp_path: Path) -> None:
    async with with_messages(tmp_path) as said:
        async with (
            running(tmp_path, search=False) as up,
            device(up, "alice", listen=False) as alice,
        ):
            said.append(await alice.send("bob", "pancake"))
        async with running(tmp_path) as up:
            await find(up, "pancake", said[:1:-1])


async def test_an_index_of_another_log_is_made_again(tmp_path: Path) -> None:
    """As after a log was lost: what it says of other texts is gone with it."""
    async with with_messages(tmp_path / "other"):
        pass
    async with with_messages(tmp_path / "own") as said:
        (tmp_path / "other" / "search.db").rename(tmp_path / "own" / "search.db")
        async with running(tmp_path / "own") as up:
            await find(up, "pancake", said[:1:-1])
        search = await EmbeddedSearch.open(tmp_path / "own")
        count = await search.database.read(
            lambda opened: opened.execute("SELECT count(*) FROM texts").fetchone()[0]
        )
        await search.close()
        assert count == 5
