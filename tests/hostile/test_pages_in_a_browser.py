"""A page of another origin in a real browser, with a token: it gets nothing until an operator names
it, and then everything, with no restart. Nothing but the browser decides what it may read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page

from tests.support import shared
from tests.support.rawclient import mint
from tests.support.server import Server, running

HTML = b"<!doctype html><title>another page</title>"
WITHIN_S = 30.0
ASK = """async ([connect, history, websocket, token]) => {
  const headers = {authorization: `Bearer ${token}`};
  const asked = async (url, more) => {
    try { return (await fetch(url, {headers, ...more})).status; } catch { return 'unreadable'; }
  };
  const json = {...headers, 'content-type': 'application/json', 'connect-protocol-version': '1'};
  const post = {method: 'POST', headers: json, body: '{}'};
  const opened = new Promise(resolve => {
    const socket = new WebSocket(websocket, ['cecochat.v1']);
    socket.onopen = () => { resolve('open'); socket.close(); };
    socket.onerror = () => resolve('refused');
  });
  return [
    await asked(`${connect}/v1/connect`),
    await asked(`${connect}/cecochat.v1.Directory/Lookup`, post),
    await asked(`${history}/cecochat.v1.History/GetChats`, post),
    await opened,
  ];
}"""
NOTHING = ["unreadable", "unreadable", "unreadable", "refused"]
EVERYTHING = [200, 200, 200, "open"]


@asynccontextmanager
async def another_page() -> AsyncIterator[str]:
    """The origin of a page that is not ours."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(HTML)}\r\ncontent-type: text/html\r\n"
        writer.write(head.encode() + b"connection: close\r\n\r\n" + HTML)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running(tmp_path) as server:
        yield server


async def asked(page: Page, server: Server) -> list[object]:
    """What a page gets of each: a status, or that it may not read it."""
    ready = server.ready
    addresses = [ready["connect"], ready["history_http"], ready["websocket"]]
    found: list[object] = await page.evaluate(ASK, [*addresses, mint(server.secret_file, "alice")])
    return found


async def test_another_page_gets_nothing_until_it_is_named(
    chromium: Browser, server: Server
) -> None:
    async with another_page() as origin:
        page = await chromium.new_page()
        await page.goto(origin)
        assert await asked(page, server) == NOTHING
        where = {"CECOCHAT_DATA_DIR": str(server.data)}
        await shared.configure(where, {"web.origins": origin})
        async with asyncio.timeout(WITHIN_S):
            while await asked(page, server) != EVERYTHING:
                pass


async def test_our_own_page_gets_everything(chromium: Browser, server: Server) -> None:
    page = await chromium.new_page()
    await page.goto(f"{server.connect_url}/livez")
    assert await asked(page, server) == EVERYTHING
