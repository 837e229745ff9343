"""Web pages of others, and names of others for our addresses: they get nothing, over HTTP as over
WebSocket. Our own page and those that an operator names work, as browsers ask for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.hostile.rfc6455 import peer
from tests.support.rawclient import mint
from tests.support.server import Server, running

NAMED = "https://chat.example.com"
OTHERS = ("https://evil.example", "null", "http://chat.example.com", f"{NAMED}.evil.example")
READ = "access-control-allow-origin"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running(tmp_path, configuration={"web.origins": NAMED}) as server:
        yield server


def doors(server: Server) -> list[httpx.Request]:
    """What a page could ask for, each with a token that it should not have."""
    headers = {"authorization": f"Bearer {mint(server.secret_file, 'alice')}"}
    queries = f"{server.ready['history_http']}/cecochat.v1.History"
    return [
        httpx.Request("GET", f"{server.connect_url}/v1/connect", headers=headers),
        httpx.Request("POST", f"{queries}/GetChats", headers=headers, json={}),
    ]


async def test_another_page_is_refused_and_may_not_even_read_that(server: Server) -> None:
    async with httpx.AsyncClient(timeout=60) as client:
        for origin in OTHERS:
            for request in doors(server):
                request.headers["origin"] = origin
                answer = await client.send(request)
                assert (answer.status_code, READ in answer.headers) == (403, False), origin
                assert "web.origins" in answer.text
                asked = {"origin": origin, "access-control-request-method": request.method}
                preflight = await client.options(request.url, headers=asked)
                assert (preflight.status_code, READ in preflight.headers) == (403, False)
            async with peer(server.ready["websocket"], Origin=origin) as socket:
                assert socket.status == 403, origin


async def test_two_origins_are_no_origin(server: Server) -> None:
    async with httpx.AsyncClient(timeout=60) as client:
        for request in doors(server):
            for page in (NAMED, OTHERS[0]):
                request.headers = httpx.Headers([*request.headers.multi_items(), ("origin", page)])
            assert (await client.send(request)).status_code == 403


async def test_our_page_and_a_named_one_are_let_in(server: Server) -> None:
    own = server.connect_url
    async with httpx.AsyncClient(timeout=60) as client:
        for origin in (NAMED, own, own.replace("127.0.0.1", "localhost")):
            for request in doors(server):
                asked = {
                    "origin": origin,
                    "access-control-request-method": request.method,
                    "access-control-request-headers": "authorization,content-type",
                }
                preflight = await client.options(request.url, headers=asked)
                assert (preflight.status_code, preflight.headers[READ]) == (204, origin)
                assert int(preflight.headers["access-control-max-age"]) > 600
                allowed = preflight.headers["access-control-allow-headers"]
                assert {"authorization", "content-type"} <= set(allowed.split(", "))
                request.headers["origin"] = origin
                answer = await client.send(request)
                assert (answer.status_code, answer.headers[READ]) == (200, origin), answer.text
                assert "retry-after" in answer.headers["access-control-expose-headers"]
                for each in (preflight, answer):
                    assert "origin" in each.headers["vary"]
                    assert "access-control-allow-credentials" not in each.headers
            async with peer(server.ready["websocket"], Origin=origin) as socket:
                assert socket.status == 101, origin


async def test_another_name_for_our_address_gets_nothing(server: Server) -> None:
    """A page of evil.example, whose name its owner makes lead to 127.0.0.1 (DNS rebinding), has the
    origin that it says as the host. It has no token, and a name makes nobody our page.
    """
    async with httpx.AsyncClient(timeout=60) as client:
        for request in doors(server):
            name = f"evil.example:{request.url.port}"
            request.headers["host"], request.headers["origin"] = name, f"http://{name}"
            assert (await client.send(request)).status_code == 403
            del request.headers["origin"], request.headers["authorization"]
            answer = await client.send(request)
            assert (answer.status_code, READ in answer.headers) == (401, False)


async def test_a_token_in_a_url_is_none(server: Server) -> None:
    async with httpx.AsyncClient(timeout=60) as client:
        for request in doors(server):
            token = request.headers.pop("authorization").removeprefix("Bearer ")
            for name in ("access_token", "token", "authorization"):
                url = request.url.copy_merge_params({name: token})
                answer = await client.request(request.method, url, json={})
                assert answer.status_code == 401, name
            assert token not in server.said
