"""A unary call under way, whichever transport it comes over.

Over gRPC, unary calls are served as streams of one message each way, which is the same on the wire.
So a call can be refused before its request is read, and counts as under way until its answer has
left.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import ClassVar, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from typing_extensions import override

from cecochat.domain.errors import Invalid, Refusal
from cecochat.runtime import unary
from cecochat.runtime.grpc import Context, refuse
from cecochat.runtime.hangup import HangUp
from cecochat.runtime.http import REQUEST_MAX_BYTES, App
from cecochat.runtime.unary import Unary
from cecochat.v1 import errors_pb2

ANSWER_TIMEOUT_S = 10.0

Request = TypeVar("Request", bound=Message)


class Exchange(ABC):
    """One call under way, as its transport brings it."""

    authorization: str
    """What the caller says who it is."""
    traceparent: str
    """The trace context of the caller; "" if it has none."""
    copies: ClassVar[int] = 1
    """How often memory holds an answer while it is sent."""

    def timeout_s(self, longest_s: float) -> float:
        """Return how long the caller waits for an answer, but at most `longest_s`. Raises
        `Refusal`.
        """
        return longest_s

    @abstractmethod
    def drop(self) -> None:
        """Keep nothing of the request, since it is refused, and maybe late."""

    @abstractmethod
    async def read(self, kind: type[Request]) -> Request:
        """Return the request once it is there. Raises `Refusal`."""

    def encoded(self, answer: bytes) -> bytes:
        """Return a serialized answer as it is sent."""
        return answer

    @abstractmethod
    async def write(self, encoded: bytes) -> None:
        """Send the answer. This returns when the client has taken it, but for what the kernel
        holds.
        """

    @abstractmethod
    def hang_up(self) -> None:
        """End the connection, since its client does not read. That cancels `write`."""


class OverHttp(Exchange):
    def __init__(self, asked: Unary, response: type[Message]) -> None:
        self.authorization = asked.authorization
        self.traceparent = asked.traceparent
        self._asked = asked
        self._response = response

    @override
    def timeout_s(self, longest_s: float) -> float:
        return self._asked.timeout_s(longest_s)

    @override
    def drop(self) -> None:
        self._asked.drop()

    @override
    async def read(self, kind: type[Request]) -> Request:
        return await self._asked.read(kind)

    @override
    def encoded(self, answer: bytes) -> bytes:
        return self._asked.encoded(answer, self._response)

    @override
    async def write(self, encoded: bytes) -> None:
        await self._asked.write(encoded)

    @override
    def hang_up(self) -> None:
        self._asked.hang_up()


class OverGrpc(Exchange):
    copies = 2  # gRPC makes its own

    def __init__(self, context: Context, hanging_up: HangUp) -> None:
        metadata = dict(context.invocation_metadata() or ())
        self.authorization = str(metadata.get("authorization", ""))
        self.traceparent = str(metadata.get("traceparent", ""))
        self._context = context
        self._hanging_up = hanging_up

    @override
    def drop(self) -> None:
        """Do nothing: gRPC hands out a message once it is whole, and bounds what it holds."""

    @override
    async def read(self, kind: type[Request]) -> Request:
        raw = await self._context.read()
        if raw is grpc.aio.EOF:
            raise Invalid("the call has no request: send one")
        try:
            return kind.FromString(bytes(raw))
        except DecodeError:
            raise Invalid(
                f"the request is no cecochat.v1.{kind.__name__}: encode it as the proto says"
            ) from None

    @override
    async def write(self, encoded: bytes) -> None:
        try:
            await self._context.write(encoded)  # returns when the client's window has taken it
        except grpc.aio.InternalError:
            raise asyncio.CancelledError("the client left without its answer") from None

    @override
    def hang_up(self) -> None:
        self._hanging_up.on(self._context.peer())


@asynccontextmanager
async def deadline(exchange: Exchange, longest_s: float = ANSWER_TIMEOUT_S) -> AsyncIterator[None]:
    """End the block after as long as the caller waits, and after `longest_s` with `TimeoutError`.
    Raises `Refusal` if the caller wanted it sooner.
    """
    timeout_s = exchange.timeout_s(longest_s)
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        if timeout_s >= longest_s:
            raise
        raise Refusal(
            errors_pb2.ERROR_CODE_TIMEOUT,
            f"there was no answer within the {timeout_s:g} s that the caller gave: wait longer",
        ) from None


Respond = Callable[[Exchange], Awaitable[Refusal | None]]
"""Answers a call, or returns why it is refused."""


def add_route(
    app: App,
    path: str,
    response: type[Message],
    respond: Respond,
    max_bytes: int = REQUEST_MAX_BYTES,
) -> None:
    """Add a call to an HTTP application, by the Connect protocol."""

    async def answer(asked: Unary) -> Refusal | None:
        return await respond(OverHttp(asked, response))

    unary.add_route(app, path, answer, max_bytes)


def handler(respond: Respond, hanging_up: HangUp) -> grpc.RpcMethodHandler[bytes, bytes]:
    """Return what serves a call over gRPC. Answers are serialized already."""

    async def handle(_: object, context: Context) -> None:
        if refusal := await respond(OverGrpc(context, hanging_up)):
            refuse(context, refusal)

    return grpc.stream_stream_rpc_method_handler(handle)
