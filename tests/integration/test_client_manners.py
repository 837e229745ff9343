"""The Python client's manners: opening and closing it, replies, handlers, its files."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cecochat.client import Client, Closed, InvalidArgument, Message, connect
from tests.integration.clients import WITHIN_S, device, next_of, said_by, texts_of
from tests.integration.systems import Running
from tests.support.eventually import eventually


async def opened(up: Running, user: str, state: Path | str | None = None) -> Client:
    return await connect(up.addresses.connect, up.token(user), state=state)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.glob("alice.json*")}


# -- opening and closing


async def test_a_client_that_is_awaited_goes_on_where_it_was_closed(
    up: Running, tmp_path: Path
) -> None:
    state = str(tmp_path / "bob.json")
    bob = await opened(up, "bob", state)
    async with device(up, "alice") as alice:
        for text in ("one", "two", "three"):
            await alice.send("bob", text)
        assert await texts_of(bob, 2) == ["one", "two"]
        await bob.close()
        bob = await opened(up, "bob", state)
        assert await texts_of(bob, 1) == ["two"], "nobody said that it was handled"
        await bob.close(handled=True)
        bob = await opened(up, "bob", state)
        assert await texts_of(bob, 1) == ["three"]
        await bob.close()


async def test_what_is_asked_of_a_closed_client_ends_at_once(up: Running) -> None:
    alice = await opened(up, "alice")
    listening = asyncio.create_task(next_of(alice, Message))
    await alice.send("bob", "hello")
    querying = asyncio.create_task(alice.history("bob"))
    await asyncio.sleep(0)
    await asyncio.gather(alice.close(), alice.close())
    await alice.close()
    async with asyncio.timeout(WITHIN_S):
        for late in (alice.send("bob", "late"), alice.history("bob"), alice.chats()):
            with pytest.raises(Closed):
                await late
        with pytest.raises(AssertionError, match="the events ended"):
            await listening
        await asyncio.wait([querying])
    assert isinstance(querying.exception(), Closed | None)


async def test_closing_inside_a_block_is_enough(up: Running, tmp_path: Path) -> None:
    state = tmp_path / "alice.json"
    async with device(up, "alice", state) as alice:
        await alice.close()
        async with device(up, "alice", state):
            pass  # the state is free again
        async for event in alice:
            assert not isinstance(event, Message)


async def test_an_error_that_leaves_the_block_brings_the_message_again(
    up: Running, tmp_path: Path
) -> None:
    state = tmp_path / "bob.json"
    async with device(up, "bob", state):
        pass
    async with device(up, "alice") as alice:
        await alice.send("bob", "hello")

    async def fail_on_a_message() -> None:
        async with device(up, "bob", state) as bob:
            await next_of(bob, Message)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_on_a_message()
    async with device(up, "bob", state) as bob:
        assert await texts_of(bob, 1) == ["hello"]


async def test_the_files_of_a_state_are_private(up: Running, tmp_path: Path) -> None:
    state = tmp_path / "alice.json"
    async with device(up, "alice", str(state)) as alice:
        await alice.send("bob", "hello")
        await alice.keep()
        assert modes(tmp_path) == {"alice.json": 0o600, "alice.json.lock": 0o600}


# -- bad arguments


async def test_a_bad_argument_is_refused_at_the_call_and_harms_nothing(up: Running) -> None:
    async with device(up, "alice", listen=False) as alice:
        bad: list[tuple[Any, Any, Any]] = [
            ("alice", "to oneself", None),
            ("no spaces", "hello", None),
            (17, "hello", None),
            ("bob", "", None),
            ("bob", 17, None),
            ("bob", "\ud800", None),
            ("bob", "x" * (64 << 10), None),
            ("bob", "hello", ""),
            ("bob", "hello", "x" * 65),
            ("bob", "hello", 17),
        ]
        for to, text, id_ in bad:
            with pytest.raises(InvalidArgument):
                _ = await alice.post(to, text, client_message_id=id_)
        marks: list[tuple[str, Any]] = [("alice", 1), ("bob", -1), ("bob", 1 << 63), ("bob", "1")]
        for chat, message_id in marks:
            with pytest.raises(InvalidArgument):
                alice.mark_read(chat, message_id)
        with pytest.raises(InvalidArgument, match=r"1 to 200"):
            await alice.history("bob", 201)  # only the server knows what is too much
        await alice.send("bob", "still here")
        assert await said_by(alice) == ["still here"]


# -- replies and handlers


async def test_a_reply_is_one_message_however_often_it_is_made(up: Running) -> None:
    async with device(up, "alice") as alice, device(up, "bob") as bob:
        await alice.send("bob", "hello")
        asked = await next_of(bob, Message)
        first = await asked.reply("hello to you")
        assert await asked.reply("hello to you") == first
        [earlier] = (await bob.history("alice", 1, before=first)).messages
        assert await earlier.reply("hello to you") == first
        await asked.reply("and goodbye")
        texts = [message.text for message in (await bob.history("alice")).messages]
        assert texts == ["hello", "hello to you", "and goodbye"]


async def test_handlers_answer_until_the_client_is_closed(up: Running) -> None:
    async with device(up, "alice") as alice, device(up, "bot") as bot:

        @bot.on_message
        async def answer(message: Message) -> None:
            await message.reply(f"You said: {message.text}")

        running = asyncio.create_task(bot.run())
        await alice.send("bot", "one")
        await alice.send("bot", "two")
        assert await texts_of(alice, 2) == ["You said: one", "You said: two"]
        await bot.close()
        async with asyncio.timeout(WITHIN_S):
            await running


async def test_a_client_that_is_closed_gives_out_nothing_that_comes_again(
    up: Running, tmp_path: Path
) -> None:
    """Five messages have arrived; a handler closes the client at the second."""
    state, seen = tmp_path / "bot.json", list[str]()
    await (await opened(up, "bot", str(state))).close()
    async with device(up, "alice", listen=False) as alice:
        for number in range(5):
            await alice.send("bot", str(number))
    bot = await opened(up, "bot", str(state))

    @bot.on_message
    async def note(message: Message) -> None:
        seen.append(message.text)
        if message.text == "1":
            await bot.close(handled=True)

    await until_there(bot, 5)
    await bot.run()
    assert [each async for each in bot] == []
    async with device(up, "bot", state) as again:
        seen += await texts_of(again, 3)
    assert seen == ["0", "1", "2", "3", "4"]


async def until_there(client: Client, count: int) -> None:
    """So many messages wait for the application."""

    def waiting() -> bool:
        entries = [entry.event for entry, _ in client._local.progress.inbox._entries]
        return sum(isinstance(event, Message) for event in entries) >= count

    await eventually(waiting)


async def test_a_message_that_a_handler_could_not_handle_comes_again(
    up: Running, tmp_path: Path
) -> None:
    state, seen, broken = tmp_path / "bot.json", list[str](), True

    async def handle(message: Message) -> None:
        seen.append(message.text)
        if message.text == "last":
            await client.close(handled=True)
        elif broken:
            raise ZeroDivisionError

    async with device(up, "alice", listen=False) as alice, device(up, "bot", state) as client:
        client.on_message(handle)
        for text in ("first", "second"):
            await alice.send("bot", text)
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                await client.run()
        # The error is swallowed, and the block ends as if nothing had happened.
    assert seen == ["first", "first"]
    broken = False
    async with device(up, "alice", listen=False) as alice, device(up, "bot", state) as client:
        client.on_message(handle)
        await alice.send("bot", "last")
        await client.run()
    assert seen == ["first", "first", "first", "second", "last"]
    async with device(up, "alice", listen=False) as alice, device(up, "bot", state) as client:
        await alice.send("bot", "new")
        assert await texts_of(client, 1) == ["new"], "`last` was handled"
