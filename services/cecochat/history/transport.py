"""`cecochat.v1.History` over gRPC; answers are bytes already."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from prometheus_client import CollectorRegistry, Histogram

from cecochat.domain import spans
from cecochat.domain.errors import Refusal, Unavailable
from cecochat.history.queries import Queries
from cecochat.history.where import Where
from cecochat.runtime.grpc import INTERNAL, Context, abort, authenticate, caller
from cecochat.runtime.tokens import Verifier
from cecochat.runtime.tracing import OFF, Tracer
from cecochat.v1 import errors_pb2
from cecochat.v1.history_pb2 import FindMessageRequest, GetChatsRequest, GetMessagesRequest

log = logging.getLogger(__name__)

SERVICE = "cecochat.v1.History"
RECEIVE_MAX_BYTES = 64 << 10

NOT_NOW = Refusal(
    errors_pb2.ERROR_CODE_UNAVAILABLE, "the history does not answer: ask again later", 1_000
)

Request = TypeVar("Request", bound=Message)


def query_seconds(registry: CollectorRegistry) -> Histogram:
    """Measured by the handler."""
    return Histogram(
        "cecochat_query_seconds",
        "Time to answer, by call and code.",
        ["call", "code"],
        registry=registry,
    )


def handler(
    queries: Queries,
    where: Where,
    verifier: Verifier,
    registry: CollectorRegistry,
    tracer: Tracer = OFF,
) -> grpc.GenericRpcHandler:
    """The service, answered by `queries` and `where`."""
    seconds = query_seconds(registry)
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "GetMessages": _unary(
                "GetMessages", queries.messages, GetMessagesRequest, verifier, seconds, tracer
            ),
            "GetChats": _unary(
                "GetChats", queries.chats, GetChatsRequest, verifier, seconds, tracer
            ),
            "FindMessage": _unary(
                "FindMessage", where.call, FindMessageRequest, verifier, seconds, tracer
            ),
        },
    )


def _unary(
    name: str,
    answer: Callable[[str, Request], Awaitable[bytes]],
    request_type: type[Request],
    verifier: Verifier,
    seconds: Histogram,
    tracer: Tracer,
) -> grpc.RpcMethodHandler[bytes, bytes]:
    full = f"{SERVICE}/{name}"

    async def call(raw: bytes, context: Context) -> bytes:
        answered = await respond(raw, context)
        if isinstance(answered, Refusal):
            await abort(context, answered)
        return answered

    async def traced(user: str, raw: bytes, parent: str) -> bytes:
        with tracer.serving(spans.QUERY, parent, {spans.RPC: full}, name=full):
            return await answer(user, _parse(raw, request_type))

    async def respond(raw: bytes, context: Context) -> bytes | Refusal:
        begun_s = time.monotonic()
        refusal: Refusal | None = None
        try:
            _, identity = authenticate(context, verifier)
            return await traced(identity.user_id, raw, caller(context))
        except Refusal as refused:
            refusal = refused
        except Unavailable as error:
            log.warning("%s: %s", name, error)
            refusal = NOT_NOW
        except Exception:
            log.exception("%s failed", name)
            refusal = INTERNAL
        finally:
            code = refusal.name if refusal else "ok"
            seconds.labels(name, code).observe(time.monotonic() - begun_s)
        return refusal

    return grpc.unary_unary_rpc_method_handler(call)


def _parse(raw: bytes, request_type: type[Request]) -> Request:
    try:
        return request_type.FromString(raw)
    except DecodeError:
        raise Refusal(
            errors_pb2.ERROR_CODE_INVALID_ARGUMENT,
            f"the request is no cecochat.v1.{request_type.__name__}: encode it with the proto",
        ) from None
