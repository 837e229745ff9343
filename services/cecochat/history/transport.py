"""`cecochat.v1.History` over gRPC; answers are bytes already."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from prometheus_client import CollectorRegistry, Histogram

from cecochat.domain.errors import Refusal, Unavailable
from cecochat.history.queries import Queries
from cecochat.history.where import Where
from cecochat.runtime.grpc import INTERNAL, Context, abort, authenticate
from cecochat.runtime.tokens import Verifier
from cecochat.v1 import errors_pb2
from cecochat.v1.history_pb2 import FindMessageRequest, GetChatsRequest, GetMessagesRequest

log = logging.getLogger(__name__)

SERVICE = "cecochat.v1.History"
RECEIVE_MAX_BYTES = 64 << 10

NOT_NOW = Refusal(
    errors_pb2.ERROR_CODE_UNAVAILABLE, "the history does not answer: ask again later", 1_000
)

Request = TypeVar("Request", bound=Message)


def handler(
    queries: Queries, where: Where, verifier: Verifier, registry: CollectorRegistry
) -> grpc.GenericRpcHandler:
    """The service, answered by `queries` and `where`."""
    seconds = Histogram(
        "cecochat_query_seconds",
        "Time to answer, by call and code.",
        ["call", "code"],
        registry=registry,
    )
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "GetMessages": _unary(
                "GetMessages", queries.messages, GetMessagesRequest, verifier, seconds
            ),
            "GetChats": _unary("GetChats", queries.chats, GetChatsRequest, verifier, seconds),
            "FindMessage": _unary("FindMessage", where.call, FindMessageRequest, verifier, seconds),
        },
    )


def _unary(
    name: str,
    answer: Callable[[str, Request], Awaitable[bytes]],
    request_type: type[Request],
    verifier: Verifier,
    seconds: Histogram,
) -> grpc.RpcMethodHandler[bytes, bytes]:
    async def call(raw: bytes, context: Context) -> bytes:
        begun_s = time.monotonic()
        refusal: Refusal | None = None
        try:
            _, identity = authenticate(context, verifier)
            return await answer(identity.user_id, _parse(raw, request_type))
        except Refusal as refused:
            refusal = refused
        except Unavailable as error:
            log.warning("%s: %s", name, error)
            refusal = NOT_NOW
        except Exception:
            log.exception("%s failed", name)
            refusal = INTERNAL
        finally:
            seconds.labels(name, refusal.name if refusal else "ok").observe(
                time.monotonic() - begun_s
            )
        await abort(context, refusal)

    return grpc.unary_unary_rpc_method_handler(call)


def _parse(raw: bytes, request_type: type[Request]) -> Request:
    try:
        return request_type.FromString(raw)
    except DecodeError:
        raise Refusal(
            errors_pb2.ERROR_CODE_INVALID_ARGUMENT,
            f"the request is no cecochat.v1.{request_type.__name__}: encode it with the proto",
        ) from None
