"""Bodies of people without a token: a server keeps nothing of what it refuses to read."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.bench.meter import rss_bytes
from tests.support import operators
from tests.support.rawclient import mint
from tests.support.results import write
from tests.support.server import Server, running

CONNECTIONS = 3_000
LENGTH = 64 << 10
SENT = b" " * (LENGTH - 536)  # the rest never comes
GREW_MAX_BYTES = 64 << 20  # a third of what was sent
WITHIN_S = 60.0


def listeners(server: Server) -> dict[str, str]:
    return {
        "/cecochat.v1.Directory/Lookup": server.connect_url,
        "/v1/nothing": server.connect_url,
        "/cecochat.v1.History/GetMessages": server.ready["history_http"],
        "/revocations": server.ready["health"]["history"],
    }


@pytest.mark.timeout(420)
@pytest.mark.parametrize(
    "path",
    [
        "/cecochat.v1.Directory/Lookup",
        "/v1/nothing",
        "/cecochat.v1.History/GetMessages",
        "/revocations",
    ],
)
async def test_what_is_refused_is_not_kept(tmp_path: Path, path: str) -> None:
    async with running(tmp_path) as server, AsyncExitStack() as stack:
        url = urlsplit(listeners(server)[path])
        head = (
            f"POST {path} HTTP/1.1\r\nhost: {url.netloc}\r\ncontent-type: application/json\r\n"
            f"content-length: {LENGTH}\r\n\r\n"
        ).encode()
        before = rss_bytes(server.pid)
        for _ in range(CONNECTIONS):
            reader, writer = await asyncio.open_connection(url.hostname, url.port)
            stack.callback(writer.close)
            writer.write(head + SENT)
        async with asyncio.timeout(WITHIN_S):  # the last one has been let in
            await reader.readuntil(b"\r\n\r\n")
        grew = rss_bytes(server.pid) - before
        headers = {"authorization": f"Bearer {mint(server.secret_file, 'alice')}"}
        async with httpx.AsyncClient(timeout=WITHIN_S) as client:
            found = await client.get(f"{server.connect_url}/v1/connect", headers=headers)
        assert found.status_code == 200
        print(write("hostile-refused-bodies", {"grew_kb": grew >> 10}), path)
        assert grew < GREW_MAX_BYTES
        assert "Traceback" not in server.said


async def test_who_is_refused_can_read_why_and_ask_again(tmp_path: Path) -> None:
    """With a body that was there, over the same connection; if the rest is missing, on another."""
    async with running(tmp_path) as server:
        url = urlsplit(server.connect_url)
        head = (
            f"POST /cecochat.v1.Directory/Lookup HTTP/1.1\r\nhost: {url.netloc}\r\n"
            "content-type: application/json\r\ncontent-length: {}\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        async with asyncio.timeout(WITHIN_S):
            for _ in range(2):
                writer.write(head.format(2).encode() + b"{}")
                answer = await reader.readuntil(b'"}}]}')
                assert b" 401 " in answer
                assert b"connection: keep-alive" in answer
            writer.write(head.format(3).encode() + b"{}")
            answer = await reader.read()
        writer.close()
        assert b" 401 " in answer
        assert b"connection: close" in answer


@pytest.mark.parametrize(("body", "status"), [(b" " * (4 << 10) + b"{}", 413), (b"[", 400)])
async def test_operators_bodies_are_small(tmp_path: Path, body: bytes, status: int) -> None:
    async with running(tmp_path) as server, operators.client() as client:
        url = f"{server.ready['health']['history']}/revocations"
        json = {"content-type": "application/json"}
        assert (await client.post(url, content=body, headers=json)).status_code == status
