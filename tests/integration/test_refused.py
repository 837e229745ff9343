"""A message that the history database refuses for what it is: nobody else waits for it, who reads
is told, and an operator can store it later.
"""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cecochat.adapters.embedded import checks, sqlite
from cecochat.adapters.embedded.history import FILE
from cecochat.client import CaughtUp, Client, Hole, Message, Sent, connect
from cecochat.domain.log.ids import UserId, dialog
from cecochat.v1 import history_pb2
from cecochat.v1.history_pb2 import GetChatsRequest, GetMessagesRequest
from tests.integration.streams import message, receipt
from tests.integration.systems import Running, running
from tests.support import operators
from tests.support.eventually import eventually
from tests.support.server import CECOCHAT

ROW_BYTES_MAX = 5_000
LARGE = "x" * 6_000
CHAT = dialog(UserId("alice"), UserId("bob"))
REFUSED = history_pb2.Hole.REASON_REFUSED
USERS = [f"u{number}" for number in range(40)]


@pytest.fixture
async def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    """Whose database of the history takes no large row; other processes have no such limit."""
    connect_ = sqlite.Database._connect

    def limited(self: sqlite.Database) -> sqlite3.Connection:
        connection = connect_(self)
        writes = threading.current_thread() is threading.main_thread()  # readers have threads
        if self.path.name == FILE and writes:
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, ROW_BYTES_MAX)
        return connection

    monkeypatch.setattr(sqlite.Database, "_connect", limited)
    async with running(tmp_path / "data") as started:
        yield started


async def send_all(up: Running) -> int:
    """A large message among small ones, while others write; the id of the large one."""

    async def chat(user: str) -> None:
        async with up.stream(user, None) as stream:
            to = dialog(UserId(user), UserId("bob"))
            await stream.send(*(message(f"{number}", to) for number in range(20)))
            await stream.until_acks(20)

    async with asyncio.TaskGroup() as others, up.stream("alice") as alice:
        for user in USERS:
            others.create_task(chat(user))
        large = message("large", CHAT, LARGE)
        await alice.send(message("before", CHAT), large, message("after", CHAT))
        await alice.send(receipt("r", CHAT, read=1))
        acks = await alice.until_acks(4)
    return int(acks[1].ack.message_id)


async def page(up: Running, **bounds: int) -> history_pb2.GetMessagesResponse:
    return await up.messages("bob", GetMessagesRequest(chat_id=CHAT, **bounds))  # type: ignore[arg-type]


async def complete(up: Running) -> bool:
    chats = (await up.chats("bob", GetChatsRequest(limit=100))).chats
    counts = {chat.chat_id: chat.unread_count for chat in chats}
    return counts == {CHAT: 2} | {dialog(UserId(user), UserId("bob")): 20 for user in USERS}


async def cli(up: Running, *words: str, code: int = 0) -> tuple[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CECOCHAT_")}
    state = Path(up.addresses.data).parent / "state"
    process = await asyncio.create_subprocess_exec(
        CECOCHAT,
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=kept | operators.SETTING | {"XDG_STATE_HOME": str(state)},
    )
    out, err = await process.communicate()
    assert process.returncode == code, (words, out, err)
    return out.decode(), err.decode()


async def metric(up: Running, server: str, name: str) -> float:
    async with operators.client() as client:
        text = (await client.get(f"{up.addresses.health[server]}/metrics")).text
    return sum(float(line.split()[1]) for line in text.splitlines() if line.startswith(name))


@pytest.mark.timeout(420)
async def test_a_refused_message_is_told_kept_and_can_be_stored_later(up: Running) -> None:
    large = await send_all(up)
    await eventually(lambda: complete(up))
    shown = await page(up)
    texts = [event.message.text for event in shown.messages]
    assert texts == ["before", "after"]
    hole = history_pb2.Hole(
        first_id=large,
        last_id=large,
        reason=REFUSED,
        chat_id=CHAT,
        user_id="alice",
        client_message_id="large",
    )
    assert list(shown.holes) == [hole]
    before, after = (event.id for event in shown.messages)
    assert list((await page(up, before=after)).holes) == [hole]
    assert list((await page(up, after=before)).holes) == [hole]
    assert list((await page(up, before=before)).holes) == []
    assert list((await page(up, after=after)).holes) == []
    assert list((await page(up, limit=1)).holes) == [], "it is older than this page"
    listed = await up.chats("bob", GetChatsRequest(limit=100))
    assert {chat.chat_id for chat in listed.chats if chat.holes} == {CHAT}
    assert list(listed.holes) == [hole]
    assert list((await up.chats("u1", GetChatsRequest())).holes) == []
    assert await metric(up, "materialize", "cecochat_rows_refused_total") == 1

    at, data = up.addresses.health["history"], Path(up.addresses.data)
    assert checks.holes(data).result == "wrong"
    out, _ = await cli(up, "holes", "list", "--server", at, code=1)
    assert f"{large} to {large}" in out
    assert "refused: SQLite: string or blob too big" in out
    out, _ = await cli(up, "dead", "list", "--server", at, "--json")
    (letter,) = (json.loads(line) for line in out.splitlines())
    assert (letter["state"], letter["message_id"]) == ("waits", f"{large}")
    out, _ = await cli(up, "dead", "show", letter["name"], "--server", at)
    assert "its text is sealed" in out
    where = ("--server", at, "--data", up.addresses.data)
    out, _ = await cli(up, "dead", "drop", letter["name"], "--by", "anna", *where)
    assert "given up" in out
    out, _ = await cli(up, "holes", "list", "--server", at)
    assert "by anna" in out
    assert checks.holes(data).result == "ok"
    assert list((await page(up)).holes) == [hole], "it is missing all the same"
    _, err = await cli(up, "dead", "drop", letter["name"], *where, code=1)
    assert "given up already" in err
    _, err = await cli(up, "dead", "retry", "0:999999", *where, code=2)
    assert f"use one of {letter['name']}" in err

    await cli(up, "dead", "retry", letter["name"], *where)
    shown = await page(up)
    assert [event.message.text for event in shown.messages] == ["before", LARGE, "after"]
    assert list(shown.holes) == []
    out, _ = await cli(up, "holes", "list", "--server", at)
    assert "no hole" in out
    _, err = await cli(up, "dead", "retry", letter["name"], *where, code=1)
    assert "in the history already" in err


async def test_who_fills_a_gap_is_told_of_the_hole(up: Running, tmp_path: Path) -> None:
    state = tmp_path / "bob.json"
    async with connect(up.addresses.connect, up.token("bob"), state=state) as bob:
        pass
    large = await send_all(up)
    await eventually(lambda: complete(up))
    known = json.loads(state.read_text())
    known["position"]["logId"] = "another log"
    state.write_text(json.dumps(known))
    async with connect(up.addresses.connect, up.token("bob"), state=state) as bob:
        got = await until_after(bob)
    holes = [event for event in got if isinstance(event, Hole)]
    assert holes == [Hole(CHAT, large, large, "refused")]
    page_ = [each for each in got if isinstance(each, Message) and each.chat_id == CHAT]
    assert [each.text for each in page_] == ["before", "after"]


async def until_after(bob: Client) -> list[Any]:
    got: list[Any] = []
    async with asyncio.timeout(30):
        async for event in bob:
            got.append(event)
            if isinstance(event, Message) and event.text == "after":
                break
    return got


async def test_who_has_nothing_but_what_is_missing_is_told_too(up: Running, tmp_path: Path) -> None:
    state = tmp_path / "dora.json"
    async with connect(up.addresses.connect, up.token("dora"), state=state):
        pass
    to = dialog(UserId("alice"), UserId("dora"))
    async with up.stream("alice") as alice:
        await alice.send(message("large", to, LARGE))
        (ack,) = await alice.until_acks(1)
    known = json.loads(state.read_text())
    known["position"]["logId"] = "another log"
    state.write_text(json.dumps(known))
    async with connect(up.addresses.connect, up.token("dora"), state=state) as dora:
        async with asyncio.timeout(30):
            events = [await anext(dora)]
    assert events == [Hole(to, ack.ack.message_id, ack.ack.message_id, "refused")]


async def test_an_own_send_that_is_refused_was_accepted_and_is_not_sent_again(
    up: Running, tmp_path: Path
) -> None:
    """Its answer was lost, and the history has it not: the hole names it."""
    state = tmp_path / "alice.json"
    async with connect(up.addresses.connect, up.token("alice"), state=state):
        pass
    before = json.loads(state.read_text())
    large = await send_all(up)
    await eventually(lambda: complete(up))
    send = {"clientMessageId": "large", "chatId": CHAT, "message": {"text": LARGE}}
    position = {**before["position"], "logId": "another log"}
    state.write_text(json.dumps({**before, "position": position, "outbox": [send]}))
    async with connect(up.addresses.connect, up.token("alice"), state=state) as alice:
        got: list[Any] = []
        async with asyncio.timeout(30):
            async for event in alice:
                got.append(event)
                if isinstance(event, CaughtUp):
                    break
    (answered,) = [event.message for event in got if isinstance(event, Sent)]
    assert (answered.id, answered.text) == (large, LARGE)
    shown = [event.text for event in got if isinstance(event, Message)]
    assert shown == ["before", "after"]
