"""Queries of a client whose history server moves while they are under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from typing_extensions import override

from cecochat.client import Refused, Route
from cecochat.client.backoff import BackOff
from cecochat.client.lookup import Lookup
from cecochat.client.queries import HistoryCalls
from cecochat.v1.events_pb2 import Event
from cecochat.v1.history_pb2 import GetMessagesRequest, GetMessagesResponse

REQUEST = GetMessagesRequest(chat_id="d:alice~bob")


class Moving(Lookup):
    """Names the history server that `address` says."""

    def __init__(self, address: str | None) -> None:
        self.address = address
        self.credentials = None
        self.forgotten = asyncio.Event()

    @override
    def forget(self) -> None:
        self.forgotten.set()

    @override
    async def current(self) -> tuple[Route, str]:
        return Route("alice", 0, "server", "", self.address, 60.0, BackOff()), "token"


class Slow:
    """A history server that answers once it may."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def answer(self, _request: bytes, _context: Any) -> bytes:
        self.asked.set()
        await self.may_answer.wait()
        page = GetMessagesResponse(messages=[Event(id=1)], has_more=True)
        return page.SerializeToString()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        server = grpc.aio.server()
        handlers: Any = {"GetMessages": grpc.unary_unary_rpc_method_handler(self.answer)}
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("cecochat.v1.History", handlers),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(None)


async def test_a_call_under_way_outlives_a_move() -> None:
    old, new = Slow(), Slow()
    new.may_answer.set()
    async with old.serving() as before, new.serving() as after:
        lookup = Moving(before)
        calls = HistoryCalls(lookup)
        first = asyncio.create_task(calls.messages(REQUEST))
        await old.asked.wait()
        lookup.address = after
        assert (await calls.messages(REQUEST)).has_more
        old.may_answer.set()
        await asyncio.wait([first])
        assert not first.cancelled()
        assert first.result().has_more
        await calls.close()


async def test_a_call_waits_until_a_history_server_is_live() -> None:
    server, lookup = Slow(), Moving(None)
    server.may_answer.set()
    async with server.serving() as address, asyncio.TaskGroup() as tasks:
        calls = HistoryCalls(lookup)
        waiting = tasks.create_task(calls.messages(REQUEST))
        await lookup.forgotten.wait()
        lookup.address = address
        assert (await waiting).has_more
        await calls.close()


async def test_a_call_says_that_none_is_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cecochat.client.queries.GIVE_UP_S", 0.0)
    with pytest.raises(Refused, match="no history server is live") as refused:
        await HistoryCalls(Moving(None)).messages(REQUEST)
    assert refused.value.retriable
