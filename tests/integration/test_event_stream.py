"""The stream of events over HTTP, for back ends that consume by themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.domain.errors import Invalid
from cecochat.domain.hooks import cursor
from cecochat.domain.hooks.endpoints import adding
from cecochat.domain.log.ids import stamp_at
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import State, Takeover
from cecochat.internal.v1.internal_pb2 import Tail as InternalTail
from cecochat.ports.backplane import MESSAGES, Log
from cecochat.run.system import keyring
from cecochat.runtime.clock import now_ms
from cecochat.sealing.opening import Opening
from cecochat.servers.hooks.streaming import Stream, Wanted
from tests.integration.shops import append, change, endpoint, origin, shop
from tests.integration.streams import WITHIN_S, message
from tests.integration.systems import Running, running, settings
from tests.support.eventually import eventually

CHAT = "d:alice~bob"


class Tail:
    """A stream that is read: what it told, and its last cursor."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        self.told: list[dict[str, Any]] = []
        self.cursor = ""

    @property
    def texts(self) -> list[str]:
        return [each["data"]["message"]["text"] for each in self.told]

    async def next(self) -> None:
        async with asyncio.timeout(WITHIN_S):
            line = json.loads(await anext(self._lines))
        if line["type"] == "cursor":
            self.cursor = line["cursor"]
        else:
            self.told.append(line)

    async def until(self, count: int) -> None:
        """Read until so much was told, and the cursor is behind that."""
        while len(self.told) < count:
            await self.next()
        before = self.cursor
        while self.cursor == before:
            await self.next()


def headers(system: Running, *scopes: str, name: str = "shop") -> dict[str, str]:
    return {"authorization": f"Bearer {system.service_token(*scopes, name=name)}"}


@asynccontextmanager
async def tailing(system: Running, *, service: str = "shop", **wanted: Any) -> AsyncIterator[Tail]:
    """A stream whose beginning is known."""
    url = f"{system.addresses.connect}/v1/events"
    whose = headers(system, "read", name=service)
    async with (
        httpx.AsyncClient(trust_env=False, timeout=WITHIN_S, headers=whose) as client,
        client.stream("POST", url, json=wanted) as response,
    ):
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"] == "application/x-ndjson"
        tail = Tail(response.aiter_lines())
        await tail.next()
        assert tail.cursor, "it begins with one"
        yield tail


async def say(system: Running, user: str, *texts: str, chat: str = CHAT) -> None:
    async with system.stream(user) as stream:
        await stream.send(*(message(text, chat, text) for text in texts))
        await stream.until_acks(len(texts))


async def ask(system: Running, body: Any, *scopes: str) -> httpx.Response:
    whose = headers(system, *scopes)
    async with httpx.AsyncClient(trust_env=False, timeout=WITHIN_S, headers=whose) as client:
        return await client.post(f"{system.addresses.connect}/v1/events", json=body)


async def test_it_tells_the_same_as_webhooks(tmp_path: Path) -> None:
    async with running(tmp_path, partitions=4) as system, shop() as told:
        await change(system, adding(endpoint(told.url)))
        await say(system, "alice", "before")
        await told.until(lambda: told.told)
        async with tailing(system) as tail:
            await say(system, "alice", "one", "two")
            await say(system, "bob", "three")
            await tail.until(3)
        await told.until(lambda: len(told.told) == 4)
    assert tail.texts == told.texts[1:] == ["one", "two", "three"]
    assert [each.pop("id") for each in tail.told] == told.ids[1:]
    assert tail.told == told.told[1:]


async def test_it_goes_on_at_a_cursor_also_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path, partitions=4) as system:
        async with tailing(system) as tail:
            await say(system, "alice", "one")
            await tail.until(1)
        await say(system, "alice", "two")
        async with tailing(system, after=tail.cursor) as tail:
            await tail.until(1)
            assert tail.texts == ["two"]
        await say(system, "alice", "three")
    async with (
        running(tmp_path, partitions=4) as system,
        tailing(system, after=tail.cursor) as last,
    ):
        await say(system, "alice", "four")
        await last.until(2)
    assert last.texts == ["three", "four"]


async def test_it_chooses_kinds_and_chats(tmp_path: Path) -> None:
    wanted: dict[str, Any] = {"kinds": ["message.created"], "chats": ["d:alice~*"]}
    async with running(tmp_path) as system, tailing(system, **wanted) as tail:
        await say(system, "bob", "not this", chat="d:bob~carol")
        await say(system, "alice", "this")
        await tail.until(1)
    assert tail.texts == ["this"]


@pytest.mark.parametrize(
    ("body", "scope", "status", "says"),
    [
        ({}, "send", 403, "needs the scope `read`"),
        ([], "read", 400, "the body is an object"),
        ({"since": "1"}, "read", 400, "the body is an object"),
        ({"kinds": "message.created"}, "read", 400, "is no kind"),
        ({"kinds": 1}, "read", 400, "lists of texts"),
        ({"kinds": ["user.unread"]}, "read", 400, "is no kind"),
        ({"after": "nonsense"}, "read", 400, "is no cursor"),
        ({"after": cursor.encode("another", {0: Place(0, 0)})}, "read", 400, "another log"),
    ],
)
async def test_what_cannot_be_streamed_is_refused(
    body: Any, scope: str, status: int, says: str, tmp_path: Path
) -> None:
    async with running(tmp_path) as system:
        answer = await ask(system, body, scope)
    assert answer.status_code == status
    assert says in answer.json()["error"]["message"]


def test_a_cursor_is_what_it_was_made_of() -> None:
    places = {number: Place(number * 7, number) for number in range(300)}
    assert cursor.decode(cursor.encode("log", places), "log", 300) == places
    for text in ("", "!", cursor.encode("log", {}), "A" * (cursor.TEXT_MAX + 1)):
        with pytest.raises(Invalid):
            cursor.decode(text, "log", 300)


async def test_what_the_log_has_dropped_is_said(tmp_path: Path) -> None:
    log = await EmbeddedBackplane.open(tmp_path, retention_ms=1)
    state = State(6, Place(0, 0), 6, stamp_at(now_ms()), {}, 0, groups=())
    await append(log, Takeover("server", "session", 1), *map(origin, range(6)), state)
    await append(log, *map(origin, range(6, 8)))
    await asyncio.sleep(0.01)
    await log.release(MESSAGES, 0, 7)
    await log.trim()
    known = await Log.of(log)
    after = cursor.encode(
        known.id, {0: Place(0, 4)} | {n: Place(0, 0) for n in range(1, known.partitions)}
    )
    told: list[dict[str, Any]] = []
    async with keyring(settings(tmp_path)) as ring:
        stream = Stream(known, Opening(ring), Wanted.of(InternalTail(after=after), known))
        await stream.begin()

        async def write(lines: bytes) -> None:
            told.extend(json.loads(line) for line in lines.splitlines())

        running_it = asyncio.create_task(stream.run(write))
        await eventually(lambda: len([each for each in told if each["type"] != "cursor"]) == 3)
        running_it.cancel()
        await asyncio.wait([running_it])
    await log.close()
    dropped, *messages = [each for each in told if each["type"] != "cursor"]
    assert (dropped["type"], dropped["id"]) == ("events.dropped", "dropped-0-4-7")
    assert dropped["data"] == {"partition": 0, "fromOffset": "4", "belowOffset": "7"}
    assert [each["data"]["message"]["text"] for each in messages] == ["6", "7"]
