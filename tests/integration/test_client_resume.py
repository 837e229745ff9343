"""The Python client comes back: what it missed, gaps, and servers that come and go."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cecochat.auth.minting import mint
from cecochat.client import (
    FOR_GOOD,
    CaughtUp,
    ChatSettings,
    Client,
    Message,
    Receipt,
    Reconnecting,
    Sent,
    SettingsChanged,
    connect,
)
from cecochat.run import system
from cecochat.settings.settings import load
from tests.integration.clients import WITHIN_S, device, edit, next_of, said_by, texts_of
from tests.integration.systems import Running
from tests.support.eventually import eventually
from tests.support.server import free_ports

# -- resume


async def test_a_returning_device_gets_exactly_what_it_missed(up: Running, tmp_path: Path) -> None:
    state = tmp_path / "bob.json"
    async with device(up, "alice", listen=False) as alice:
        async with device(up, "bob", state) as bob:
            await alice.send("bob", "seen")
            assert await texts_of(bob, 1) == ["seen"]
        missed = [f"missed {number}" for number in range(50)]
        for text in missed:
            _ = await alice.post("bob", text)
        await alice.send("bob", "the last")
        async with device(up, "bob", state) as bob:
            assert await texts_of(bob, 51) == [*missed, "the last"]


async def test_an_event_that_was_being_dealt_with_comes_again(up: Running, tmp_path: Path) -> None:
    state = tmp_path / "bob.json"

    async def fails_at_the_second(bob: Client) -> None:
        await texts_of(bob, 2)
        raise ZeroDivisionError

    async with device(up, "alice", listen=False) as alice:
        async with device(up, "bob", state):
            pass
        for text in ("one", "two", "three"):
            await alice.send("bob", text)
        with pytest.raises(ZeroDivisionError):
            async with device(up, "bob", state) as bob:
                await fails_at_the_second(bob)
        async with device(up, "bob", state) as bob:
            assert await texts_of(bob, 2) == ["two", "three"]


async def test_a_gap_is_filled_from_the_history_once_and_in_order(
    up: Running, tmp_path: Path
) -> None:
    state = tmp_path / "bob.json"
    async with (
        device(up, "alice", listen=False) as alice,
        device(up, "carol", listen=False) as carol,
    ):
        async with device(up, "bob", state) as bob:
            await alice.send("bob", "seen")
            assert await texts_of(bob, 1) == ["seen"]
        by_alice = [f"alice {number}" for number in range(120)]
        by_carol = [f"carol {number}" for number in range(60)]
        for client, texts in ((alice, by_alice), (carol, by_carol)):
            await asyncio.gather(*[await client.post("bob", text) for text in texts])
        position = json.loads(state.read_text())["position"]
        edit(state, position={**position, "logId": "another log"})
        async with device(up, "bob", state) as bob:
            got, caught_up = list[str](), False
            while len(got) < 180 or not caught_up:  # the last copies may come after the gap
                async with asyncio.timeout(WITHIN_S):
                    event = await anext(bob)
                got += [event.text] if isinstance(event, Message) else []
                caught_up |= isinstance(event, CaughtUp)
            assert [text for text in got if text.startswith("alice")] == by_alice
            assert [text for text in got if text.startswith("carol")] == by_carol
            await alice.send("bob", "live")
            assert await texts_of(bob, 1) == ["live"]


async def test_after_a_gap_marks_are_told_where_no_message_is_new(
    up: Running, tmp_path: Path
) -> None:
    state = tmp_path / "alice.json"
    async with device(up, "bob") as bob:
        async with device(up, "alice", state) as alice:
            sent = await alice.send("bob", "seen")
            await next_of(bob, Message)
            waiting = asyncio.create_task(anext(bob))
            await next_of(alice, Receipt)
        bob.mark_read("alice", sent)
        await eventually(lambda: read_by_bob(bob, sent))
        waiting.cancel()
        position = json.loads(state.read_text())["position"]
        edit(state, position={**position, "logId": "another log"})
        async with device(up, "alice", state) as alice:
            assert (await next_of(alice, Receipt)).read_up_to == sent


@pytest.mark.parametrize("chat", ["d:alice~bob", "g:us"])
async def test_after_a_gap_settings_are_told_and_no_message_is_lost(
    up: Running, tmp_path: Path, chat: str
) -> None:
    state = tmp_path / "alice.json"
    async with device(up, "alice") as other:
        if chat == "g:us":
            await other.groups.create("Us", chat_id=chat)
        async with device(up, "alice", state) as alice:
            await other.send(chat, "seen")
            await next_of(alice, Message)
        await other.set_chat(chat, ChatSettings(archived=True))
        before = await other.send(chat, "before")
        set_ = await other.set_chat(chat, ChatSettings(FOR_GOOD, pinned=True))
        after = await other.send(chat, "after")
        position = json.loads(state.read_text())["position"]
        edit(state, position={**position, "logId": "another log"})
        async with device(up, "alice", state) as alice:
            assert {each.id for each in await told(alice, 3)} == {before, set_.id, after}
            live = await other.set_chat(chat, ChatSettings())
            assert await told(alice, 1) == [live]


async def told(client: Client, count: int) -> list[Message | SettingsChanged]:
    """The next messages and settings."""
    found: list[Message | SettingsChanged] = []
    while len(found) < count:
        event = await anext(client)
        if isinstance(event, Message | SettingsChanged):
            found.append(event)
    return found


async def read_by_bob(bob: Client, message_id: int) -> bool:
    marks = (await bob.history("alice")).marks
    return any(mark.user_id == "bob" and mark.read_up_to == message_id for mark in marks)


async def test_after_a_gap_an_accepted_send_is_found_and_not_sent_again(
    up: Running, tmp_path: Path
) -> None:
    state = tmp_path / "alice.json"
    async with device(up, "alice", state) as alice:
        await next_of(alice, CaughtUp)
    before = json.loads(state.read_text())
    async with device(up, "alice", listen=False) as other:
        sent = await other.send("bob", "once", client_message_id="mine")
    unanswered = {
        "clientMessageId": "mine", "chatId": "d:alice~bob", "message": {"text": "once"},
    }  # fmt: skip
    edit(state, position={**before["position"], "logId": "another log"}, outbox=[unanswered])
    async with device(up, "alice", state) as alice:
        assert (await next_of(alice, Sent)).message.id == sent
        await alice.send("bob", "more")
        assert await said_by(alice) == ["once", "more"]


# -- servers that come and go


@asynccontextmanager
async def at(folder: Path, ports: dict[str, str]) -> AsyncIterator[system.Addresses]:
    """A system that comes back at the same ports."""
    environment = {**ports, "CECOCHAT_DATA_DIR": str(folder)}
    async with system.started(load(environment)) as addresses:
        yield addresses


def token_at(addresses: system.Addresses, user: str) -> str:
    assert addresses.token_secret_file
    return mint(Path(addresses.token_secret_file).read_bytes(), user, 600)


async def test_a_client_outlives_the_server(tmp_path: Path) -> None:
    ports = free_ports()
    state = tmp_path / "alice.json"
    async with at(tmp_path / "data", ports) as addresses:
        entering = connect(addresses.connect, token_at(addresses, "alice"), state=state)
        alice = await entering.__aenter__()
        await next_of(alice, CaughtUp)
    lost = await next_of(alice, Reconnecting)
    assert lost.error.retriable
    posted = [await alice.post("bob", f"{number}") for number in range(20)]
    async with at(tmp_path / "data", ports) as addresses:
        ids = await asyncio.wait_for(asyncio.gather(*posted), WITHIN_S)
        assert ids == sorted(set(ids))
        assert [m.text for m in (await alice.history("bob")).messages] == [
            f"{number}" for number in range(20)
        ]
        await next_of(alice, CaughtUp)
        await entering.__aexit__(None, None, None)


async def test_unanswered_sends_outlive_the_process(tmp_path: Path) -> None:
    ports = free_ports()
    state = tmp_path / "alice.json"
    async with at(tmp_path / "data", ports) as addresses:
        token = token_at(addresses, "alice")
        entering = connect(addresses.connect, token, state=state)
        alice = await entering.__aenter__()
        await next_of(alice, CaughtUp)
    await next_of(alice, Reconnecting)
    posted = [await alice.post("bob", text) for text in ("one", "two")]
    await entering.__aexit__(None, None, None)
    ended = await asyncio.gather(*posted, return_exceptions=True)
    assert [getattr(error, "code", None) for error in ended] == ["closed", "closed"]
    async with (
        at(tmp_path / "data", ports) as addresses,
        connect(addresses.connect, token, state=state) as alice,
    ):
        sent = [(await next_of(alice, Sent)).message.text for _ in range(2)]
        assert sent == ["one", "two"]
        assert await said_by(alice) == ["one", "two"]
