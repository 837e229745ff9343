"""Sessions that cost the generator little: raw bytes, one pass over what arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cecochat.v1.messaging_pb2 import ClientFrame, Hello, ServerFrame, ServerItem
from tests.bench.streams import Stream, open_stream
from tests.support.rawclient import find, mint

AT_ONCE = 32
"""Connections that are opened at the same time."""


class Wire:
    """One session. The items of each frame go to `take`; `write` takes a frame's bytes."""

    def __init__(self, stream: Stream) -> None:
        self.offset = 0
        self.take: Callable[[Sequence[ServerItem]], None] = self._await_caught_up
        self.write = stream.write
        self.close = stream.close
        self.lost = stream.lost
        self._stream = stream
        self._caught_up = asyncio.Event()
        stream.take = self._take

    async def open(self, token: str = "") -> None:
        """Say hello, and take everything up to `caught_up`. Raises `Broken`."""
        hello = Hello(device="bench", token=token)
        self.write(ClientFrame(hello=hello).SerializeToString())
        waiting = asyncio.create_task(self._caught_up.wait())
        await asyncio.wait((waiting, self.lost), return_when=asyncio.FIRST_COMPLETED)
        if self.lost.done():
            waiting.cancel()
            self.lost.result()

    def _await_caught_up(self, items: Sequence[ServerItem]) -> None:
        for item in items:
            if item.HasField("caught_up"):
                self.offset = item.caught_up.offset
                self._caught_up.set()

    def _take(self, data: bytes) -> None:
        items = ServerFrame.FromString(data).items
        for item in items:
            if item.HasField("refused") or item.HasField("disconnect"):
                self._stream.end(str(item))
        self.take(items)


@dataclass(frozen=True)
class Door:
    """How the generator gets in: by asking the connect server, or straight to an address."""

    connect_url: str
    secret_file: Path
    ca_file: Path | None = None  # whom to trust, where all is over TLS
    transport: str = "grpc"
    address: str = ""

    async def wires(self, users: Iterable[str]) -> list[Wire]:
        """An open session for each user, in that order."""
        limit = asyncio.Semaphore(AT_ONCE)

        async def open_one(user_id: str) -> Wire:
            async with limit:
                token = mint(self.secret_file, user_id)
                address = self.address or await self._ask(token)
                wire = Wire(await open_stream(self.transport, address, token, self.ca_file))
                await wire.open(token if self.transport == "websocket" else "")
                return wire

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(open_one(user_id)) for user_id in users]
        return [task.result() for task in tasks]

    async def _ask(self, token: str) -> str:
        route = await find(self.connect_url, token, self.ca_file)
        return route.websocket if self.transport == "websocket" else route.messaging
