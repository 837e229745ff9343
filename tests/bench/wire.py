"""Sessions that cost the generator little: raw bytes through gRPC, one pass over what arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from cecochat.v1.messaging_pb2 import ClientFrame, Hello, ServerFrame, ServerItem
from tests.support.pipes import CHAT, CONNECTION_OF_ITS_OWN
from tests.support.rawclient import Route, find, mint

AT_ONCE = 32
"""Connections that are opened at the same time."""


class Broken(Exception):
    """The server ended a session, or refused a send: the measurement is void."""


class Wire:
    """One stream. `read` gives the items of a frame, `write` takes a frame's bytes."""

    def __init__(self, route: Route, token: str, ca_file: Path | None = None) -> None:
        if ca_file:
            trusted = grpc.ssl_channel_credentials(ca_file.read_bytes())
            self.channel = grpc.aio.secure_channel(
                route.messaging, trusted, options=CONNECTION_OF_ITS_OWN
            )
        else:
            self.channel = grpc.aio.insecure_channel(route.messaging, options=CONNECTION_OF_ITS_OWN)
        self.offset = 0
        self._call: grpc.aio.StreamStreamCall[bytes, bytes] = self.channel.stream_stream(CHAT)(
            metadata=(("authorization", f"Bearer {token}"),)
        )

    async def open(self) -> None:
        """Hello, and everything up to `caught_up`."""
        await self.write(ClientFrame(hello=Hello(device="bench")).SerializeToString())
        while True:
            for item in await self.read():
                if item.HasField("caught_up"):
                    self.offset = item.caught_up.offset
                    return

    async def write(self, frame: bytes) -> None:
        await self._call.write(frame)

    async def read(self) -> Sequence[ServerItem]:
        """Raises `Broken` at the end of the stream."""
        data = await self._call.read()
        if not isinstance(data, bytes):
            raise Broken("the server ended the stream")
        items = ServerFrame.FromString(data).items
        for item in items:
            if item.HasField("refused") or item.HasField("disconnect"):
                raise Broken(str(item))
        return items

    async def close(self) -> None:
        self._call.cancel()
        await self.channel.close()


@dataclass(frozen=True)
class Door:
    """How the generator gets in."""

    connect_url: str
    secret_file: Path
    ca_file: Path | None = None  # whom to trust, where all is over TLS

    async def wires(self, users: Iterable[str]) -> list[Wire]:
        """An open session for each user, in that order."""
        limit = asyncio.Semaphore(AT_ONCE)

        async def open_one(user_id: str) -> Wire:
            async with limit:
                token = mint(self.secret_file, user_id)
                route = await find(self.connect_url, token, self.ca_file)
                wire = Wire(route, token, self.ca_file)
                await wire.open()
                return wire

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(open_one(user_id)) for user_id in users]
        return [task.result() for task in tasks]
