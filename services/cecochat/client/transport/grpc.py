"""Streams over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
from typing_extensions import override

from cecochat.client.channel import error_of, metadata, open_channel
from cecochat.client.lookup import Lookup, Route
from cecochat.client.transport.base import Call, StreamEnded, Transport
from cecochat.domain.device.device import Disconnected
from cecochat.v1.messaging_pb2 import ClientFrame, ServerFrame

CHAT = "/cecochat.v1.Messaging/Chat"


class GrpcCall(Call):
    """One call of `Chat`."""

    def __init__(self, address: str, call: Any) -> None:
        self._address = address
        self._call = call

    @override
    async def begin(self, hello: ClientFrame) -> None:
        await self.write(hello)

    @override
    async def write(self, frame: ClientFrame) -> None:
        try:
            await self._call.write(frame)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise StreamEnded from error

    @override
    async def read(self) -> ServerFrame | None:
        try:
            frame = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise error_of(f"the messaging server at {self._address}", error) from None
        return frame if isinstance(frame, ServerFrame) else None


class GrpcTransport(Transport):
    """Opens a connection for each stream, so that no earlier back-off is inherited."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    @override
    def address(self, route: Route) -> str:
        return route.messaging

    @override
    def moved(self, route: Route, to: Disconnected) -> Route | None:
        return replace(route, messaging=to.address) if to.address else None

    @override
    @asynccontextmanager
    async def open(self, address: str, token: str) -> AsyncIterator[Call]:
        async with open_channel(address, self._lookup.credentials) as channel:
            open_call: Any = channel.stream_stream(
                CHAT,
                request_serializer=ClientFrame.SerializeToString,
                response_deserializer=ServerFrame.FromString,
            )
            yield GrpcCall(address, open_call(metadata=metadata(token)))
