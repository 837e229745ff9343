"""Queries by somebody with a token who wants too much: answers that are never read, and as many as
go through.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from cecochat.client import connect
from cecochat.runtime import tokens
from cecochat.v1.history_pb2 import GetMessagesRequest
from tests.faults.test_malformed import rss_kb
from tests.hostile.answers import ask, close_window
from tests.hostile.http2 import peer
from tests.support.results import write
from tests.support.server import Server

CHAT = "d:alice~bob"
LONG = "x" * (16 << 10)
MESSAGES = 220
CALLS = 300
GREW_MAX_KB = 64 << 10


@asynccontextmanager
async def by_default(folder: Path) -> AsyncIterator[Server]:
    """A server with the limits that it comes with."""
    server = Server(folder)
    try:
        await server.start()
        yield server
    finally:
        await server.release()


def token_of(server: Server, user: str) -> str:
    return tokens.mint(server.secret_file.read_bytes(), user, 3_600)


async def say_long(server: Server, messages: int) -> None:
    """Alice says so many of the longest messages to Bob, and they are in the history."""
    async with connect(server.connect_url, token_of(server, "alice")) as alice:
        for _ in range(messages):
            last = await alice.send("bob", LONG)
        page = await alice.history("bob", limit=1)
        assert page.messages[-1].id == last


@pytest.mark.timeout(180)
async def test_answers_that_nobody_reads_hold_little(tmp_path: Path) -> None:
    async with by_default(tmp_path) as server, AsyncExitStack() as stack:
        await say_long(server, MESSAGES)
        token, before_kb = token_of(server, "alice"), rss_kb(server.pid)
        held = await stack.enter_async_context(peer(server.ready["history"]))
        await close_window(held)
        request = GetMessagesRequest(chat_id=CHAT, limit=200)
        for number in range(CALLS):
            await ask(held, "GetMessages", token, request, 2 * number + 1)
        await asyncio.sleep(5)
        grew_kb = rss_kb(server.pid) - before_kb
        print(write("hostile-reads", {"calls": CALLS, "grew_kb": grew_kb}))
        assert grew_kb < GREW_MAX_KB
