"""One user who does one thing as fast as the server lets it: `python -m tests.hostile.flooding`.

A process of its own, so that what it costs to flood is not what others are seen to wait. It prints
how often the server has answered, refusals among them, or taken a frame.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import httpx

from cecochat.v1.history_pb2 import FindMessageRequest, GetChatsRequest, GetMessagesRequest
from cecochat.v1.messaging_pb2 import ClientFrame, Hello
from tests.support.rawclient import CHAT, CONNECTION_OF_ITS_OWN, find, mint

USER, CHAT_ID = "mallory", "d:mallory~victim"
AT_ONCE = 64  # calls and lookups; streams are as many as a user may have
SESSIONS = 16
TEXT = "x" * 100


class Flood:
    """`count`: how often the server has answered or taken something."""

    def __init__(self, connect_url: str, secret_file: Path, until_s: float) -> None:
        self.connect_url = connect_url
        self.token = mint(secret_file, USER)
        self.until_s = until_s
        self.count = 0
        self._metadata = (("authorization", f"Bearer {self.token}"),)

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self.until_s

    async def at_once(self, count: int, one: Callable[[], Awaitable[None]]) -> None:
        """So many who do it one time after the other, until it is over."""

        async def forever() -> None:
            while self.goes_on:
                with suppress(grpc.aio.AioRpcError, httpx.HTTPError):
                    await one()
                self.count += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(forever())

    async def lookups(self) -> None:
        limits = httpx.Limits(max_connections=AT_ONCE)
        headers = {"authorization": f"Bearer {self.token}"}
        async with httpx.AsyncClient(limits=limits, headers=headers, timeout=30) as client:

            async def one() -> None:
                await client.get(f"{self.connect_url}/v1/connect")

            await self.at_once(AT_ONCE, one)

    async def calls(self, call: str, request: bytes) -> None:
        address = (await find(self.connect_url, self.token)).history
        async with grpc.aio.insecure_channel(address, options=CONNECTION_OF_ITS_OWN) as channel:
            method: Any = channel.unary_unary(f"/cecochat.v1.History/{call}")

            async def one() -> None:
                await method(request, metadata=self._metadata, timeout=30)

            await self.at_once(AT_ONCE, one)

    async def streams(self) -> None:
        """A stream that says hello and leaves."""
        address = (await find(self.connect_url, self.token)).messaging
        async with grpc.aio.insecure_channel(address, options=CONNECTION_OF_ITS_OWN) as channel:

            async def one() -> None:
                call: Any = channel.stream_stream(CHAT)(metadata=self._metadata)
                await call.write(ClientFrame(hello=Hello()).SerializeToString())
                await call.read()
                call.cancel()

            await self.at_once(AT_ONCE, one)

    async def frames(self, made: Callable[[int], bytes]) -> None:
        """Streams that write one frame after the other, and read what comes."""
        address = (await find(self.connect_url, self.token)).messaging
        async with grpc.aio.insecure_channel(address, options=CONNECTION_OF_ITS_OWN) as channel:

            async def session() -> None:
                call: Any = channel.stream_stream(CHAT)(metadata=self._metadata)
                await call.write(ClientFrame(hello=Hello()).SerializeToString())
                reading = asyncio.create_task(self._read(call))
                with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError):
                    async with asyncio.timeout(self.until_s - time.monotonic()):
                        while self.goes_on:
                            await call.write(made(self.count))
                            self.count += 1
                call.cancel()
                await asyncio.wait([reading])

            async with asyncio.TaskGroup() as group:
                for _ in range(SESSIONS):
                    group.create_task(session())

    async def _read(self, call: grpc.aio.StreamStreamCall[bytes, bytes]) -> None:
        with suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
            while await call.read() is not grpc.aio.EOF:
                pass

    def sends(self, number: int) -> bytes:
        frame = ClientFrame()
        for each in range(256):
            send = frame.sends.add(client_message_id=f"{number}.{each}", chat_id=CHAT_ID)
            send.message.text = TEXT
        return frame.SerializeToString()


Kind = Callable[[Flood], Awaitable[None]]

KINDS: dict[str, Kind] = {
    "lookups": Flood.lookups,
    "streams": Flood.streams,
    "empty frames": lambda flood: flood.frames(lambda _: b""),
    "renewals": lambda flood: flood.frames(
        lambda _: ClientFrame(renewed_token=flood.token).SerializeToString()
    ),
    "sends": lambda flood: flood.frames(flood.sends),
    "GetMessages": lambda flood: flood.calls(
        "GetMessages", GetMessagesRequest(chat_id=CHAT_ID, limit=200).SerializeToString()
    ),
    "GetChats": lambda flood: flood.calls("GetChats", GetChatsRequest().SerializeToString()),
    "FindMessage": lambda flood: flood.calls(
        "FindMessage", FindMessageRequest(message_id=1 << 40).SerializeToString()
    ),
}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--connect", required=True)
    parser.add_argument("--secret", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=10)
    given = parser.parse_args()
    os.nice(10)  # those who measure come first: a real flood comes from another machine
    flood = Flood(given.connect, given.secret, time.monotonic() + given.seconds)
    await KINDS[given.kind](flood)
    print(flood.count)


if __name__ == "__main__":
    asyncio.run(main())
