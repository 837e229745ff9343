"""Queries by somebody with a token who wants too much, and reads no answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from cecochat.client import connect
from cecochat.v1.history_pb2 import GetMessagesRequest
from tests.bench.meter import rss_bytes
from tests.hostile.answers import ask, close_window
from tests.hostile.http2 import peer
from tests.support.rawclient import mint
from tests.support.results import write
from tests.support.server import Server, started

CHAT = "d:alice~bob"
LONG = "x" * (16 << 10)
MESSAGES = 220
CALLS = 300
GREW_MAX_KB = 64 << 10
NO_REQUEST_WITHIN_S = 60.0


async def say_long(server: Server, messages: int) -> None:
    """Alice says so many of the longest messages to Bob, and they are in the history."""
    async with connect(server.connect_url, mint(server.secret_file, "alice")) as alice:
        for _ in range(messages):
            last = await alice.send("bob", LONG)
        page = await alice.history("bob", limit=1)
        assert page.messages[-1].id == last


@pytest.mark.timeout(420)
async def test_answers_that_nobody_reads_hold_little(tmp_path: Path) -> None:
    request = GetMessagesRequest(chat_id=CHAT, limit=200)
    async with started(Server(tmp_path)) as server:
        await say_long(server, MESSAGES)
        token, before = mint(server.secret_file, "alice"), rss_bytes(server.pid)
        async with peer(server.ready["history"]) as held:
            await close_window(held)
            for number in range(CALLS):
                await ask(held, "GetMessages", token, request, 2 * number + 1)
            await asyncio.sleep(5)
            grew_kb = (rss_bytes(server.pid) - before) >> 10
        print(write("hostile-reads", {"calls": CALLS, "grew_kb": grew_kb}))
        assert grew_kb < GREW_MAX_KB


async def test_a_call_that_never_sends_its_request_ends(tmp_path: Path) -> None:
    async with started(Server(tmp_path)) as server:
        metadata = (("authorization", f"Bearer {mint(server.secret_file, 'alice')}"),)
        async with grpc.aio.insecure_channel(server.ready["history"]) as channel:
            method: Any = channel.stream_unary("/cecochat.v1.History/GetChats")
            call = method(silence(), metadata=metadata)
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                async with asyncio.timeout(NO_REQUEST_WITHIN_S):
                    await call
        assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "no request came within" in str(refused.value.details())


async def silence() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""
