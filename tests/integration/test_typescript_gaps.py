"""The TypeScript client fills gaps, and reads the history, over plain HTTP."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.systems import Running
from tests.support.backends import Backends
from tests.support.typescript import TypeScriptClient, built, opened

CONNECTED = {"state": "connected"}
MANY = 130  # more than two pages


@pytest.fixture
def dist(backends: Backends) -> Path:
    return built(backends)


def client(dist: Path, system: Running, user: str, **options: Any) -> Any:
    return opened(dist, system.addresses.connect, system.token(user), **options)


def texts(client: TypeScriptClient, user: str) -> list[str]:
    return [each["text"] for each in client.values("message") if each["userId"] == user]


async def until_connected(client: TypeScriptClient) -> None:
    await client.until_values("status", lambda values: CONNECTED in values)


async def send(client: TypeScriptClient, *told: str) -> list[str]:
    return list(await asyncio.gather(*[client.begin("send", "bob", text) for text in told]))


def of_another_log(file: Path, **others: Any) -> None:
    """Have the device come back with a position that no log has. The file is in the format before
    lines, which has no checksum.
    """
    device = json.loads(file.read_text().splitlines()[-1].partition(" ")[2])
    position = {**device["position"], "logId": "another log"}
    file.write_text(json.dumps({**device, "messages": [], "position": position, **others}))


async def test_a_gap_is_filled_once_and_in_order(up: Running, tmp_path: Path, dist: Path) -> None:
    file = tmp_path / "bob.json"
    async with client(dist, up, "alice") as alice, client(dist, up, "carol") as carol:
        async with client(dist, up, "bob", file=file) as bob:
            await until_connected(bob)
            await send(alice, "seen")
            await bob.until(lambda _: texts(bob, "alice") == ["seen"])
            assert await bob.ended() == 0
        by_alice = [f"alice {number}" for number in range(MANY)]
        by_carol = [f"carol {number}" for number in range(20)]
        await asyncio.gather(send(alice, *by_alice), send(carol, *by_carol))
        of_another_log(file)
        async with client(dist, up, "bob", file=file) as bob:
            await until_connected(bob)
            await send(alice, "live")
            await bob.until(lambda _: texts(bob, "alice")[-1:] == ["live"])
            await bob.until(lambda _: len(texts(bob, "carol")) >= len(by_carol))
            assert texts(bob, "alice") == [*by_alice, "live"]
            assert texts(bob, "carol") == by_carol


async def test_a_gap_is_filled_with_settings(up: Running, tmp_path: Path, dist: Path) -> None:
    file = tmp_path / "bob.json"
    async with client(dist, up, "bob") as other:
        async with client(dist, up, "bob", file=file) as bob:
            await until_connected(bob)
            await other.call("send", "alice", "seen")
            await bob.until(lambda _: texts(bob, "bob") == ["seen"])
            assert await bob.ended() == 0
        await other.call("send", "alice", "before")
        set_ = await other.call("setChat", "alice", {"pinned": True})
        await other.call("send", "alice", "after")
        of_another_log(file)
        async with client(dist, up, "bob", file=file) as bob:
            await bob.until(lambda _: texts(bob, "bob") == ["before", "after"])
            [told] = await bob.until_values("settingschanged", lambda values: values != [])
            assert (told["id"], told["settings"]) == (
                set_,
                {"archived": False, "pinned": True, "accepted": False},
            )


async def test_after_a_gap_an_accepted_send_is_found_and_not_sent_again(
    up: Running, tmp_path: Path, dist: Path
) -> None:
    file = tmp_path / "alice.json"
    async with client(dist, up, "alice", file=file) as alice:
        await until_connected(alice)
        assert await alice.ended() == 0
    async with client(dist, up, "alice") as other:
        sent = await other.call("send", "bob", "once", {"clientMessageId": "mine"})
    chat = "d:alice~bob"
    unanswered = {"clientMessageId": "mine", "chatId": chat, "message": {"text": "once"}}
    of_another_log(file, outbox=[unanswered])
    async with client(dist, up, "alice", file=file) as alice:
        [found] = await alice.until_values("sent", lambda values: values != [])
        assert found["id"] == sent
        await alice.call("send", "bob", "more")
        newest = await alice.call("history", "bob")
        assert [message["text"] for message in newest] == ["more", "once"]


async def test_the_history_is_read_page_by_page_in_both_directions(up: Running, dist: Path) -> None:
    async with client(dist, up, "alice") as alice:
        told = [f"{number}" for number in range(MANY)]
        ids = await send(alice, *told)
        down = await alice.call("history", "bob", {"limit": 50})
        assert [message["text"] for message in down] == told[::-1]
        up_again = await alice.call("history", "bob", {"after": f"{ids[9]}n", "limit": 50})
        assert [message["text"] for message in up_again] == told[10:]
        below = await alice.call("history", "bob", {"before": f"{ids[9]}n"})
        assert [message["id"] for message in below] == ids[8::-1]


async def test_the_list_of_chats_has_what_was_just_sent(up: Running, dist: Path) -> None:
    async with client(dist, up, "alice") as alice, client(dist, up, "bob") as bob:
        await until_connected(bob)
        [first] = await send(alice, "one")
        mention = {"userId": "bob", "start": 0, "length": 4}
        last = await alice.call("send", "bob", "@bob", {"mentions": [mention]})
        [chat] = await alice.call("chats")
        assert (chat["chatId"], chat["lastMessage"]["text"]) == ("d:alice~bob", "@bob")
        await bob.until(lambda _: len(texts(bob, "alice")) == 2)
        [chat] = await bob.call("chats")
        assert (chat["unreadCount"], chat["lastMessage"]["id"]) == (2, last)
        assert chat["unreadMentionCount"] == 1
        assert await bob.call("chats", {"before": f"{first}n"}) == []
