"""Serves `cecochat.v1.History` over gRPC. Answers are serialized already.

Its unary calls are served as streams of one message each way, which is the same on the wire. So a
call can be refused before its request is read, and counts as under way until its answer has left.
"""

from __future__ import annotations

import asyncio

import grpc
from google.protobuf.message import DecodeError
from typing_extensions import override

from cecochat.domain.errors import Invalid
from cecochat.runtime.grpc import Context, Service, refuse
from cecochat.runtime.hangup import HangUp
from cecochat.servers.history.calls import (
    RECEIVE_MAX_BYTES,
    SERVICE,
    Call,
    Calls,
    Exchange,
    Request,
)

CONNECTION_AGE_MS = 120_000
"""How long a connection may last, and with it an answer that nobody reads. It ends before if such
answers are too many bytes.
"""


def service(calls: Calls) -> Service:
    """Return the service, which `calls` answer."""
    hanging_up = HangUp()
    handlers = {call.name: _handler(calls, call, hanging_up) for call in calls.offered}
    return Service(SERVICE, handlers, RECEIVE_MAX_BYTES, CONNECTION_AGE_MS)


def _handler(calls: Calls, call: Call, hanging_up: HangUp) -> grpc.RpcMethodHandler[bytes, bytes]:
    async def handle(_: object, context: Context) -> None:
        if refusal := await calls.respond(call, _OverGrpc(context, hanging_up)):
            refuse(context, refusal)

    return grpc.stream_stream_rpc_method_handler(handle)


class _OverGrpc(Exchange):
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
