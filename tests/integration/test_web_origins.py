"""What a page hears from a server that does not know yet which pages are let in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from sanic import Request
from sanic.response import HTTPResponse, text

from cecochat.adapters.embedded.discovery import EmbeddedDiscovery
from cecochat.domain.cluster.configuration import Config
from cecochat.ports.discovery import Instance
from cecochat.runtime import http, unary
from cecochat.runtime.origins import Origins
from cecochat.settings.settings import load

OWN = "http://127.0.0.1:8080"
READ = "access-control-allow-origin"


@pytest.fixture
def discovery() -> EmbeddedDiscovery:
    return EmbeddedDiscovery()


@pytest.fixture
async def url(discovery: EmbeddedDiscovery) -> AsyncIterator[str]:
    """Of a call that answers by "hello"."""
    origins = Origins(load({}), discovery)
    origins.configure(Config())
    app = http.app("test-origins", unary.refused)

    @app.post("/cecochat.v1.History/GetChats")
    async def answer(_: Request) -> HTTPResponse:
        return text("hello")

    origins.watch(app)
    async with http.serving(app, "127.0.0.1", 0) as port:
        yield f"http://127.0.0.1:{port}/cecochat.v1.History/GetChats"


async def test_it_is_told_to_ask_again_and_can_read_that(
    discovery: EmbeddedDiscovery, url: str
) -> None:
    page = {"origin": OWN}
    async with httpx.AsyncClient() as client:
        preflight = await client.options(url, headers=page)
        assert (preflight.status_code, preflight.headers[READ]) == (204, OWN)
        assert preflight.headers["access-control-max-age"] == "0", "it may be refused next"
        early = await client.post(url, headers=page)
        assert (early.status_code, early.headers[READ]) == (503, OWN)
        assert early.json()["code"] == "unavailable"
        assert early.headers["retry-after"] == "1"
        assert "retry-after" in early.headers["access-control-expose-headers"]
        connect = Instance("connect", "c1", "127.0.0.1:8080", "http://127.0.0.1:1", "1")
        await discovery.register(connect)
        assert (await client.post(url, headers=page)).text == "hello"
        other = await client.post(url, headers={"origin": "https://evil.example"})
        assert (other.status_code, READ in other.headers) == (403, False)
