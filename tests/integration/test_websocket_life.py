"""A WebSocket whose other side says nothing: each side asks for a sign of life, then leaves."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cecochat.client import NotReachable
from cecochat.client.lookup import Lookup
from cecochat.client.transport import websocket as client
from cecochat.runtime import websocket as runtime
from cecochat.v1.messaging_pb2 import ClientFrame, Hello
from tests.hostile.rfc6455 import BINARY, CLOSE, CUT_OFF, PING, PONG, Peer, frame, peer
from tests.integration.systems import Running, running

BEAT_S = 0.25
KEY = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


async def opened(stack: AsyncExitStack, up: Running, user: str) -> Peer:
    it = await stack.enter_async_context(peer(up.addresses.websocket))
    hello = ClientFrame(hello=Hello(token=up.token(user)))
    await it.say(frame(BINARY, hello.SerializeToString()))
    return it


async def answering(it: Peer) -> None:
    while True:
        opcode, payload = await it.read()
        assert opcode != CLOSE
        if opcode == PING:
            await it.say(frame(PONG, payload))


async def test_who_gives_no_sign_of_life_is_cut_off_and_who_answers_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "BEAT_S", BEAT_S)
    async with (
        running(tmp_path / "data") as up,
        AsyncExitStack() as stack,
        asyncio.TaskGroup() as group,
    ):
        dead, alive = await opened(stack, up, "dead"), await opened(stack, up, "alive")
        talking = group.create_task(answering(alive))
        assert await dead.ended() == CUT_OFF
        await asyncio.wait({talking}, timeout=12 * BEAT_S)  # another round, and it would be gone
        assert not talking.done()
        talking.cancel()


async def test_a_client_leaves_a_server_that_gives_no_sign_of_life(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "BEAT_S", 0.02)
    over = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        (key,) = [line[19:] for line in request.splitlines() if line[:17] == b"Sec-WebSocket-Key"]
        accept = base64.b64encode(hashlib.sha1(key + KEY).digest())  # noqa: S324 - as the RFC says
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Protocol: cecochat.v1\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        await over.wait()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        lookup = Lookup("http://127.0.0.1:1", "token", None)
        transport = client.WebSocketTransport(lookup)
        async with transport.open(f"ws://127.0.0.1:{port}/v1/chat", "token") as call:
            with pytest.raises(NotReachable, match="silent"):
                await call.read()
        await lookup.close()
        over.set()
