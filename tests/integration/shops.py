"""An endpoint of webhooks in the process of the test."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sanic import Request
from sanic.response import HTTPResponse, empty

from cecochat.domain.hooks.endpoints import Decide, Endpoint
from cecochat.ports.configuration import HOOKS
from cecochat.runtime import http
from cecochat.runtime.clock import now_ms
from tests.integration.systems import Running
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
        await eventually(holds, within_s=20.0)


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


async def change(system: Running, decide: Decide) -> None:
    await system.configuration.change(HOOKS, decide, by="test")


def endpoint(url: str, name: str = "shop", **fields: Any) -> Endpoint:
    return Endpoint(name, url, now_ms(), **fields)
