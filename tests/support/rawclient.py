"""Raw frames and raw history pages: no de-duplication, no sorting, no retrying.

Built on the generated protos, gRPC, websockets and PyJWT alone, as somebody would in another
language.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import grpc
import jwt
from google.protobuf.message import Message as ProtoMessage

from cecochat.v1 import errors_pb2, history_pb2, messaging_pb2
from cecochat.v1.errors_pb2 import ErrorCode
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import ClientFrame, ReadToken, ServerItem
from tests.support.pipes import (
    CONNECTION_OF_ITS_OWN,
    GrpcPipe,
    Options,
    Pipe,
    PipeClosed,
    TransportName,
    WebSocketPipe,
    typed_error,
)
from tests.support.records import (
    Acked,
    At,
    CaughtUp,
    Closed,
    Delivered,
    DeviceKey,
    GapTold,
    Happening,
    Hello,
    Message,
    Place,
    Record,
    Refused,
    Sent,
    TokenExpiring,
    Welcomed,
    message_of,
    place_of,
)

GET_MESSAGES = "/cecochat.v1.History/GetMessages"
GET_CHATS = "/cecochat.v1.History/GetChats"
LIST_MEMBERS = "/cecochat.v1.History/ListMembers"
DEADLINE_S = 15.0
BEHIND_WITHIN_S = 90.0
"""Kafka waits 10 s for a dead member of the group `materialize`, and then there is a backlog."""


Asked = TypeVar("Asked", bound=ProtoMessage)
Answer = TypeVar("Answer", bound=ProtoMessage)


class ConnectionEnded(Exception):
    """The stream is over; the record says why."""


class NotFound(Exception):
    """The connect server did not answer, or says that nobody can serve this user just now."""


class Route(NamedTuple):
    """Where the connect server sends a user."""

    messaging: str
    history: str  # empty: none is live
    websocket: str = ""


def mint(secret_file: Path, user_id: str, valid_s: float = 3_600) -> str:
    """A token as an embedding application's back end makes it."""
    now = int(time.time())
    claims = {"sub": user_id, "aud": "cecochat", "iat": now, "exp": now + int(valid_s)}
    return jwt.encode(claims, secret_file.read_text().strip(), algorithm="HS256")


async def find(connect_url: str, token: str, ca_file: Path | None = None) -> Route:
    """`GET /v1/connect`. Raises `NotFound`."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            status, body = await _get(connect_url, "/v1/connect", token, ca_file)
    except (OSError, ValueError, asyncio.IncompleteReadError, TimeoutError) as error:
        raise NotFound(f"{connect_url}: {error!r}") from error
    if status != 200:
        raise NotFound(f"{connect_url} answered {status}: {body[:300]!r}")
    answer: dict[str, Any] = json.loads(body)
    return Route(answer["messaging"], answer.get("history", ""), answer.get("websocket", ""))


async def _get(url: str, path: str, token: str, ca_file: Path | None) -> tuple[int, bytes]:
    """One HTTP request on a connection of its own; urllib would need a thread for each user."""
    address = urlsplit(url)
    trust = ssl.create_default_context(cafile=ca_file) if ca_file else None
    reader, writer = await asyncio.open_connection(address.hostname, address.port, ssl=trust)
    try:
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {token}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), await reader.read()
    finally:
        writer.close()


async def opened(transport: TransportName, route: Route, token: str, options: Options = ()) -> Pipe:
    """A stream to where a route says, over that transport. A small HTTP/2 window means a small
    buffer of the socket where there is none. Raises `NotFound`.
    """
    if transport == "grpc":
        return GrpcPipe(route.messaging, token, options)
    try:
        window = dict(options).get("grpc.http2.lookahead_bytes", 0)
        return await WebSocketPipe.open(route.websocket, token, window)
    except PipeClosed as closed:
        raise NotFound(f"{route.websocket}: {closed.detail}") from closed


class RawConnection:
    """One stream of one device. What is written and read goes into the record as it happens."""

    def __init__(self, pipe: Pipe, record: Record, who: DeviceKey, number: int) -> None:
        self._record, self._who, self._number = record, who, number
        self._pipe = pipe
        self._reason = errors_pb2.Error()
        self._ended = False

    async def hello(self, position: Place | None, clock_ms: int = 0) -> None:
        """`clock_ms`: of the log there, from the same item; 0: not known, as to a first version."""
        hello = messaging_pb2.Hello(device=self._who.device)
        if position is not None:
            known = messaging_pb2.Position(**position._asdict(), clock_ms=clock_ms)
            hello.position.CopyFrom(known)
        self._note(Hello(position, clock_ms))
        await self.write(ClientFrame(hello=hello))

    async def send(self, offset: int, sends: Sequence[messaging_pb2.Send]) -> None:
        """One frame. A send counts as attempted even if the connection ends under it."""
        for send in sends:
            text = send.message.text if send.HasField("message") else None
            self._note(Sent(send.client_message_id, send.chat_id, text))
        await self.write(ClientFrame(offset=offset, sends=sends))

    async def write(self, frame: ClientFrame) -> None:
        try:
            await self._pipe.write(frame)
        except PipeClosed as error:
            raise ConnectionEnded from error

    async def read(self) -> Iterator[ServerItem]:
        """The items of the next frame, each recorded when it is taken. Raises `ConnectionEnded`."""
        try:
            frame = await self._pipe.read()
        except PipeClosed as closed:
            self._end(closed.error or self._reason, closed.detail)
            raise ConnectionEnded from closed
        return map(self._noted, frame.items)

    def _noted(self, item: ServerItem) -> ServerItem:
        if item.HasField("disconnect"):
            self._reason = item.disconnect.error
        elif (what := _happening(item)) is not None:
            self._note(what)
        return item

    async def close(self) -> None:
        """End it from this side. Idempotent."""
        await self._pipe.close()
        self._end(self._reason, "closed by the client")

    def _end(self, reason: errors_pb2.Error, detail: str) -> None:
        if not self._ended:
            self._ended = True
            self._note(
                Closed(code_name(reason.code) if reason.code else "", f"{detail} {reason.message}")
            )

    def _note(self, what: Happening) -> None:
        self._record.add(self._who, self._number, what)


def _happening(item: ServerItem) -> Happening | None:
    match item.WhichOneof("item"):
        case "welcome":
            position = item.welcome.position
            return Welcomed(place_of(position), position.clock_ms)
        case "delivered":
            came = item.delivered
            return Delivered(came.offset, message_of(came.event), came.clock_ms)
        case "ack":
            ack = item.ack
            home = At(ack.home_clock_ms, ack.home_offset) if ack.home_offset else None
            return Acked(ack.client_message_id, ack.message_id, ack.offset, ack.clock_ms, home)
        case "refused":
            error = item.refused.error
            return Refused(item.refused.client_message_id, code_name(error.code), error.retriable)
        case "caught_up":
            return CaughtUp(item.caught_up.offset, item.caught_up.clock_ms)
        case "gap":
            return GapTold(item.gap.from_offset, item.gap.to_offset)
        case "token_expiring":
            return TokenExpiring(item.token_expiring.expires_in_ms)
    return None


def code_name(code: ErrorCode.ValueType) -> str:
    return ErrorCode.Name(code).removeprefix("ERROR_CODE_")


class RawHistory:
    """Pages as the server gives them."""

    def __init__(self, channel: grpc.aio.Channel, token: str) -> None:
        self._channel = channel
        self._metadata = (("authorization", f"Bearer {token}"),)

    async def page(
        self, request: history_pb2.GetMessagesRequest
    ) -> history_pb2.GetMessagesResponse:
        """One page of a chat."""
        return await self.ask(GET_MESSAGES, request, history_pb2.GetMessagesResponse)

    async def ask(self, call: str, request: Asked, answer: type[Answer]) -> Answer:
        """Where the history is `behind`, asks again when it says, until a deadline."""
        ask = self._channel.unary_unary(
            call,
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        async with asyncio.timeout(BEHIND_WITHIN_S):
            while True:
                try:
                    return await ask(request, metadata=self._metadata, timeout=DEADLINE_S)
                except grpc.aio.AioRpcError as error:
                    typed = typed_error(error)
                    if typed is None or typed.code != errors_pb2.ERROR_CODE_BEHIND:
                        raise
                    await asyncio.sleep(max(typed.retry_after_ms, 1) / 1_000)

    async def whole(self, chat_id: str, token: ReadToken | None = None) -> list[Message]:
        """A chat from its first message on, page by page forward, as the pages gave it."""
        return [message_of(event) for event in await self.events(chat_id, token)]

    async def events(
        self, chat_id: str, token: ReadToken | None = None, *, with_changes: bool = False
    ) -> list[Event]:
        """The same with all that the pages have."""
        found: list[Event] = []
        request = history_pb2.GetMessagesRequest(
            chat_id=chat_id, after=0, limit=100, token=token, with_changes=with_changes
        )
        while True:
            page = await self.page(request)
            found += page.messages
            if not page.has_more:
                return found
            request.after = page.messages[-1].id

    async def backward(self, chat_id: str, limit: int) -> list[Message]:
        """The same from the newest page back, joined in ascending order."""
        pages: list[list[Message]] = []
        request = history_pb2.GetMessagesRequest(chat_id=chat_id, limit=limit)
        while True:
            page = await self.page(request)
            pages.insert(0, [message_of(event) for event in page.messages])
            if not page.has_more:
                return [message for each in pages for message in each]
            request.before = page.messages[0].id


@asynccontextmanager
async def history(address: str, token: str) -> AsyncIterator[RawHistory]:
    async with grpc.aio.insecure_channel(address, options=CONNECTION_OF_ITS_OWN) as channel:
        yield RawHistory(channel, token)
