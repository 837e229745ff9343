"""Streams of bytes that no client library would write, over either transport, answered alike."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import grpc
from google.protobuf.message import DecodeError
from typing_extensions import override
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from cecochat.domain.websocket import FOR_GOOD, LEFT, RECONNECT
from cecochat.run.system import Addresses
from cecochat.runtime.socket import UNAUTHENTICATED_BYTES
from cecochat.v1 import errors_pb2
from cecochat.v1.messaging_pb2 import ClientFrame, Hello, ServerFrame, ServerItem
from tests.support.hostile import ANSWER_WITHIN_S, CUT_OFF, Answer, bearer, channel, talk
from tests.support.pipes import ABNORMAL, SUBPROTOCOL, TransportName

FRAME_TOO_LARGE = 1009  # RFC 6455: said before the frame was read, so there is nothing typed


class Talks(ABC):
    """Streams to one server."""

    @abstractmethod
    async def talk(self, token: str, frames: Sequence[bytes], leave: str = "") -> Answer:
        """Write all frames and read to the end. `leave`: the kind of item after which this side
        leaves; empty: the server is to end the stream.
        """


class OverGrpc(Talks):
    """A client that leaves closes its side at once, and is still given what is due."""

    def __init__(self, made: grpc.aio.Channel) -> None:
        self._channel = made

    @override
    async def talk(self, token: str, frames: Sequence[bytes], leave: str = "") -> Answer:
        return await talk(self._channel, bearer(token), frames, leave=bool(leave))


class OverWebSocket(Talks):
    """The token is in the hello; more than that may only come once it is known."""

    def __init__(self, url: str) -> None:
        self._url = url

    @override
    async def talk(self, token: str, frames: Sequence[bytes], leave: str = "") -> Answer:
        items: list[ServerItem] = []
        async with (
            asyncio.timeout(ANSWER_WITHIN_S),
            connect(
                self._url,
                subprotocols=[SUBPROTOCOL],
                compression=None,
                proxy=None,
                max_size=None,
                max_queue=None,  # else nobody hears the server while this side writes
            ) as socket,
        ):
            with suppress(ConnectionClosed):
                await _say(socket, token, frames, items)
                while not leave or not _has(items, leave):
                    await _take(socket, items)
                await socket.close()
            with suppress(ConnectionClosed):
                while True:  # what came while it was written to
                    await _take(socket, items)
        return _answer(socket, items)


async def _say(
    socket: ClientConnection, token: str, frames: Sequence[bytes], items: list[ServerItem]
) -> None:
    for number, frame in enumerate(frames):
        if number == 1 and not _has(items, "welcome"):
            await _take(socket, items)
        await socket.send(frame if number else with_token(frame, token))


async def _take(socket: ClientConnection, items: list[ServerItem]) -> None:
    items += ServerFrame.FromString(await socket.recv(decode=False)).items


def _has(items: Sequence[ServerItem], kind: str) -> bool:
    return any(item.WhichOneof("item") == kind for item in items)


def with_token(frame: bytes, token: str) -> bytes:
    """The first frame of a stream. A field that comes twice is merged, so the rest of the hello
    stays as it is.
    """
    try:
        says_hello = ClientFrame.FromString(frame).HasField("hello")
    except DecodeError:
        return frame
    hello = ClientFrame(hello=Hello(token=token)).SerializeToString()
    return frame + hello if says_hello else frame


def _answer(socket: ClientConnection, items: list[ServerItem]) -> Answer:
    """As gRPC would have it. The close code must say what the last item said."""
    code = socket.close_code
    if code == ABNORMAL:  # it was reset under a frame that the server did not want to read
        return Answer(items, grpc.StatusCode.UNKNOWN, CUT_OFF, None)
    if code == LEFT:
        return Answer(items, grpc.StatusCode.OK, "", None)
    if code == FRAME_TOO_LARGE:
        error = errors_pb2.Error(
            code=errors_pb2.ERROR_CODE_TOO_LARGE, message=f"close code {code}: too large"
        )
    else:
        assert items, f"close code {code}, and no item that says why"
        error = items[-1].disconnect.error
        assert code == (RECONNECT if error.retriable else FOR_GOOD) + error.code
    return Answer(items, grpc.StatusCode.UNKNOWN, error.message, error)


def is_much_of_a_stranger(frame: bytes) -> bool:
    """Whether a WebSocket whose first frame this is ends before it is looked at."""
    return len(frame) > UNAUTHENTICATED_BYTES // 2


@asynccontextmanager
async def talks(transport: TransportName, grpc_address: str, url: str) -> AsyncIterator[Talks]:
    """Streams over that transport."""
    if transport == "websocket":
        yield OverWebSocket(url)
        return
    async with channel(grpc_address) as made:
        yield OverGrpc(made)


@asynccontextmanager
async def talks_to(addresses: Addresses, transport: TransportName) -> AsyncIterator[Talks]:
    async with talks(transport, addresses.messaging, addresses.websocket) as made:
        yield made
