"""Whoever is refused leaves nothing behind that only the garbage collector would find: it looks
seldom, and nobody should be able to fill a server's memory in between.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from cecochat.domain.errors import Refusal
from cecochat.runtime.socket import Socket
from cecochat.runtime.unary import Unary
from cecochat.servers.messaging.connection import Connection
from cecochat.v1.history_pb2 import GetMessagesRequest
from cecochat.v1.messaging_pb2 import ClientFrame, Hello, Position
from tests.integration.systems import Running, running
from tests.support.eventually import eventually
from tests.support.pipes import PipeClosed, WebSocketPipe
from tests.support.rawclient import mint

TIMES = 5
KINDS = (Refusal, Socket, Connection, Unary)


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as system:
        yield system


def alive() -> Counter[str]:
    """How many there are of each kind, whether or not anybody can reach them."""
    return Counter(
        type(each).__name__ for each in gc.get_objects() if issubclass(type(each), KINDS)
    )


async def over_websocket(up: Running, token: str, hello: Hello) -> None:
    pipe = await WebSocketPipe.open(up.addresses.websocket, token)
    with suppress(PipeClosed):
        await pipe.write(ClientFrame(hello=hello))
        while True:
            await pipe.read()


async def over_grpc(up: Running, token: str, hello: Hello) -> None:
    metadata = (("authorization", f"Bearer {token}"),)
    async with grpc.aio.insecure_channel(up.addresses.messaging) as channel:
        call: Any = channel.stream_stream("/cecochat.v1.Messaging/Chat")(metadata=metadata)
        with suppress(grpc.aio.AioRpcError):
            await call.write(ClientFrame(hello=hello).SerializeToString())
            while await call.read() is not grpc.aio.EOF:
                pass
        assert await call.code() != grpc.StatusCode.OK


async def a_query(up: Running, token: str, hello: Hello) -> None:
    request = GetMessagesRequest(chat_id=hello.position.log_id or "d:alice~bob")
    async with grpc.aio.insecure_channel(up.addresses.history) as channel:
        call: Any = channel.unary_unary("/cecochat.v1.History/GetMessages")
        with pytest.raises(grpc.aio.AioRpcError):
            await call(
                request.SerializeToString(), metadata=(("authorization", f"Bearer {token}"),)
            )


async def a_lookup(up: Running, token: str, hello: Hello) -> None:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        headers = {"authorization": f"Bearer {token}"}
        answer = await http.get(f"{up.addresses.connect}/v1/connect", headers=headers)
    assert answer.status_code == 401


async def a_query_over_http(up: Running, token: str, hello: Hello) -> None:
    chat = {"chatId": hello.position.log_id or "d:alice~bob"}
    url = f"{up.addresses.history_http}/cecochat.v1.History/GetMessages"
    await posted(url, token, json=chat, statuses=(401, 403))


async def a_broken_body(up: Running, token: str, hello: Hello) -> None:
    url = f"{up.addresses.history_http}/cecochat.v1.History/GetMessages"
    broken = {"content": b"{" * 100, "headers": {"content-type": "application/json"}}
    await posted(url, token, **broken, statuses=(401, 400))


async def a_lookup_by_connect(up: Running, token: str, hello: Hello) -> None:
    url = f"{up.addresses.connect}/cecochat.v1.Directory/Lookup"
    broken = {"content": b"{" * 100, "headers": {"content-type": "application/json"}}
    await posted(url, token, **broken, statuses=(401, 400))


async def posted(url: str, token: str, *, statuses: tuple[int, int], **sent: Any) -> None:
    headers = {"authorization": f"Bearer {token}"} | sent.pop("headers", {})
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        answer = await http.post(url, headers=headers, **sent)
    assert answer.status_code in statuses, answer.text


BY_CONNECT = (a_query_over_http, a_broken_body, a_lookup_by_connect)
OTHERS = Position(log_id="d:bob~carol", partition=4_000)
Ask = Callable[[Running, str, Hello], Awaitable[None]]


@pytest.mark.parametrize("ask", [over_websocket, over_grpc, a_query, a_lookup, *BY_CONNECT])
async def test_a_wrong_token_leaves_nothing_behind(up: Running, ask: Ask) -> None:
    await leaves_nothing(lambda: ask(up, "x" * 100, Hello()))


@pytest.mark.parametrize("ask", [over_websocket, over_grpc, a_query, *BY_CONNECT])
async def test_a_wrong_request_leaves_nothing_behind(up: Running, ask: Ask) -> None:
    secret_file = up.addresses.token_secret_file
    assert secret_file
    token = mint(Path(secret_file), "alice", 600)
    await leaves_nothing(lambda: ask(up, token, Hello(device_id="x" * 100, position=OTHERS)))


async def leaves_nothing(attempt: Callable[[], Awaitable[None]]) -> None:
    await attempt()  # what is made once stays
    await asyncio.sleep(0.1)
    gc.collect()
    before = alive()
    gc.disable()
    try:
        for _ in range(TIMES):
            await attempt()

        async def gone() -> bool:
            return not alive() - before

        await eventually(gone, 30, 0.1)
    except AssertionError:
        raise AssertionError(f"left behind: {alive() - before}") from None
    finally:
        gc.enable()
