"""An endpoint of webhooks in the process of the test, and what a log has for it."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from sanic import Request
from sanic.response import HTTPResponse, empty

from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.domain.hooks.endpoints import Decide, Endpoint
from cecochat.domain.log.ids import UserId, message_id, stamp_at
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import LogRecord, Origin, encode
from cecochat.ports.backplane import NewRecord
from cecochat.ports.configuration import HOOKS
from cecochat.runtime import http
from cecochat.runtime.clock import now_ms
from cecochat.v1.events_pb2 import Event, Message
from tests.integration.systems import Running
from tests.support import operators
from tests.support.eventually import eventually


@dataclass
class Shop:
    """An endpoint, and what it took."""

    url: str = ""
    told: list[dict[str, Any]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    answer: Callable[[dict[str, Any]], int] = lambda _: 204

    @property
    def kinds(self) -> list[str]:
        return [body["type"] for body in self.told]

    @property
    def texts(self) -> list[str]:
        messages = [body for body in self.told if body["type"] == "message.created"]
        return [body["data"]["message"]["text"] for body in messages]

    async def until(self, holds: Callable[[], object]) -> None:
        await eventually(holds)


@asynccontextmanager
async def shop() -> AsyncIterator[Shop]:
    made, app = Shop(), http.app("shop")

    @app.post("/hooks")
    async def hooks(request: Request) -> HTTPResponse:
        body = json.loads(request.body)
        status = made.answer(body)
        if status == 204:
            made.told.append(body)
            made.ids.append(request.headers["webhook-id"])
        return empty(status)

    async with http.serving(app, "127.0.0.1", 0) as port:
        made.url = f"http://127.0.0.1:{port}/hooks"
        yield made


async def ask(system: Running, method: str, path: str, **params: str) -> httpx.Response:
    """Ask the hook server."""
    async with operators.client() as client:
        url = f"{system.addresses.health['hooks']}/hooks{path}"
        return await client.request(method, url, params=params)


async def change(system: Running, decide: Decide) -> None:
    await system.configuration.change(HOOKS, decide, by="test")


def endpoint(url: str, name: str = "shop", **fields: Any) -> Endpoint:
    return Endpoint(name, url, now_ms(), **fields)


CHAT = "d:alice~bob"


def origin(number: int) -> Origin:
    """A message whose text is its number, at the offset `number` + 1."""
    event = Event(
        id=message_id(stamp_at(time.time_ns() // 1_000_000), 0) + number,
        chat_id=CHAT,
        user_id="alice",
        client_message_id=str(number),
        recipient_ids=["bob"],
        message=Message(text=str(number)),
    )
    raw = event.SerializeToString()
    to = (UserId("bob"),)
    return Origin(
        event.id, Place(0, 0), number, UserId("alice"), str(number), to, raw, event,
        serves_home=True,
    )  # fmt: skip


async def append(log: EmbeddedBackplane, *records: LogRecord) -> None:
    await (await log.producer()).append([NewRecord(0, *encode(record)) for record in records])
