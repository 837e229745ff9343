"""One raw stream of one device, item by item; its position moves as the protocol says. An address
that is the URL of a WebSocket is reached over one, any other over gRPC.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from cecochat.v1 import errors_pb2
from cecochat.v1.errors_pb2 import ErrorCode
from cecochat.v1.messaging_pb2 import (
    ClientFrame,
    Hello,
    Position,
    Send,
    ServerFrame,
    ServerItem,
    Welcome,
)
from tests.support.pipes import GrpcPipe, Pipe, PipeClosed, WebSocketPipe

WITHIN_S = 60.0


class Ended(Exception):
    """The stream is over: `code` is the typed reason, `detail` what the transport says."""

    def __init__(self, error: errors_pb2.Error, detail: str) -> None:
        super().__init__(f"{error} {detail}")
        self.error = error

    @property
    def code(self) -> str:
        return ErrorCode.Name(self.error.code).removeprefix("ERROR_CODE_")


class Stream:
    """`items` holds all that came. Reading has a deadline, so a test fails instead of hanging."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._waiting: list[ServerItem] = []
        self.items: list[ServerItem] = []
        self.position: Position | None = None
        self.welcome = Welcome()

    async def hello(self, position: Position | None = None) -> None:
        await self.write(ClientFrame(hello=Hello(position=position, device="test")))

    async def write(self, frame: ClientFrame | bytes) -> None:
        """Where the stream has ended, reading says why."""
        with suppress(PipeClosed):
            await self._pipe.write(frame)

    async def send(self, *sends: Send, offset: int | None = None) -> None:
        if offset is None:
            offset = self.position.offset if self.position else -1
        await self.write(ClientFrame(offset=offset, sends=sends))

    async def next(self) -> ServerItem:
        """The next item. Raises `Ended`."""
        while not self._waiting:
            frame = await self._read()
            self._waiting.extend(frame.items)
        item = self._waiting.pop(0)
        self.items.append(item)
        self._move(item)
        return item

    async def _read(self) -> ServerFrame:
        try:
            async with asyncio.timeout(WITHIN_S):
                return await self._pipe.read()
        except PipeClosed as closed:
            said = self.items[-1].disconnect.error if self.items else errors_pb2.Error()
            raise Ended(closed.error or said, closed.detail) from None

    def _move(self, item: ServerItem) -> None:
        kind = item.WhichOneof("item")
        if kind == "welcome":
            self.welcome = item.welcome
            self.position = Position()
            self.position.CopyFrom(item.welcome.position)
        elif kind in ("delivered", "ack", "caught_up"):
            assert self.position is not None, "welcome comes first"
            at = getattr(item, kind)
            if at.offset >= self.position.offset:
                self.position.offset, self.position.clock_ms = at.offset, at.clock_ms

    async def until(self, kind: str) -> ServerItem:
        """Skip to the next item of that kind."""
        while True:
            item = await self.next()
            if item.HasField(kind):  # type: ignore[arg-type]
                return item

    async def ended(self) -> Ended:
        """Read to the end; why it ended."""
        while True:
            try:
                await self.next()
            except Ended as ended:
                return ended

    async def until_texts(self, count: int) -> list[str]:
        """Read until that many messages were delivered in all; their texts, in stream order."""
        while len(texts := delivered_texts(self.items)) < count:
            await self.next()
        return texts

    async def until_acks(self, count: int) -> list[ServerItem]:
        """Read until that many sends were acknowledged in all."""
        while len(acks := [item for item in self.items if item.HasField("ack")]) < count:
            await self.next()
        return acks


def delivered_texts(items: Sequence[ServerItem]) -> list[str]:
    return [
        item.delivered.event.message.text
        for item in items
        if item.HasField("delivered") and item.delivered.event.HasField("message")
    ]


@asynccontextmanager
async def opened(address: str, token: str) -> AsyncIterator[Stream]:
    """A stream without a hello yet."""
    pipe = await _pipe(address, token)
    try:
        yield Stream(pipe)
    finally:
        await pipe.close()


async def _pipe(address: str, token: str) -> Pipe:
    if "://" in address:
        return await WebSocketPipe.open(address, token)
    return GrpcPipe(address, token)


@asynccontextmanager
async def caught_up(
    address: str, token: str, position: Position | None = None
) -> AsyncIterator[Stream]:
    """A stream that has said hello and is told that nothing is missing."""
    async with opened(address, token) as stream:
        await stream.hello(position)
        await stream.until("caught_up")
        yield stream


async def refused(address: str, token: str) -> Ended:
    """Why a stream is refused that says nothing. A hello that crosses the refusal would cost a
    client of grpc.aio the reason.
    """
    async with opened(address, token) as stream:
        if "://" in address:  # the token is in the hello
            await stream.hello()
        return await stream.ended()


def message(id_: str, chat_id: str, text: str = "") -> Send:
    send = Send(client_message_id=id_, chat_id=chat_id)
    send.message.text = text or id_
    return send


def receipt(id_: str, chat_id: str, *, delivered: int = 0, read: int = 0) -> Send:
    send = Send(client_message_id=id_, chat_id=chat_id)
    send.receipt.delivered_up_to, send.receipt.read_up_to = delivered, read
    return send
