"""Serves `cecochat.v1.History` over gRPC. Answers are serialized already.

Its unary calls are served as streams of one message each way, which is the same on the wire. So a
call can be refused before its request is read, and counts as under way until its answer has left.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from prometheus_client import CollectorRegistry, Histogram

from cecochat.auth.tokens import Verifier
from cecochat.domain.errors import Invalid, Refusal, Unavailable
from cecochat.domain.log.ids import UserId
from cecochat.internal.v1.internal_pb2 import HistoryLoad, Load
from cecochat.runtime.grpc import INTERNAL, Context, Service, authenticate, caller, refuse
from cecochat.runtime.tarpit import Tarpit
from cecochat.servers.history.admission import Admission
from cecochat.servers.history.queries import Queries
from cecochat.telemetry import spans
from cecochat.telemetry.tracing import Tracer
from cecochat.v1 import errors_pb2
from cecochat.v1.history_pb2 import FindMessageRequest, GetChatsRequest, GetMessagesRequest
from cecochat.where.server import Where

log = logging.getLogger(__name__)

SERVICE = "cecochat.v1.History"
RECEIVE_MAX_BYTES = 64 << 10
REQUEST_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 10.0
CONNECTION_AGE_MS = 120_000
"""How long a connection may last. An answer that nobody reads is held until its connection ends,
since gRPC has no other limit.
"""
FIND_COST = 10
"""How many queries a `FindMessage` counts as. It reads the log of each partition that the message
concerns, and asks messaging servers.
"""

NOT_ANSWERING = Refusal(
    errors_pb2.ERROR_CODE_UNAVAILABLE, "the history does not answer: ask again later", 1_000
)

Request = TypeVar("Request", bound=Message)
Asked = TypeVar("Asked")
Answer = Callable[[UserId, Asked], Awaitable[bytes]]


class QueryMetrics:
    """The metrics of the handler."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._load = HistoryLoad()  # what control asks for; the metric has the same
        self._seconds = Histogram(
            "cecochat_query_seconds",
            "Time to answer, by call and code.",
            ["call", "code"],
            registry=registry,
        )

    @property
    def load(self) -> Load:
        """What this server carries now."""
        return Load(history=self._load)

    def answered(self, call: str, refusal: Refusal | None, took_s: float) -> None:
        """Note that a query was answered."""
        self._seconds.labels(call, refusal.name if refusal else "ok").observe(took_s)
        self._load.queries += 1
        self._load.query_seconds += took_s


def service(
    queries: Queries,
    where: Where,
    admission: Admission,
    verifier: Verifier,
    metrics: QueryMetrics,
    tracer: Tracer,
) -> Service:
    """Return the service, which `queries` and `where` answer."""
    unary = _UnaryCalls(admission, verifier, metrics, tracer)
    calls = {
        "GetMessages": unary.handler("GetMessages", queries.messages, GetMessagesRequest),
        "GetChats": unary.handler("GetChats", queries.chats, GetChatsRequest),
        "FindMessage": unary.handler("FindMessage", where.call, FindMessageRequest, FIND_COST),
    }
    return Service(SERVICE, calls, RECEIVE_MAX_BYTES, CONNECTION_AGE_MS)


class _UnaryCalls:
    """What all calls go through: who asks, whether they may ask now, and what is told of it."""

    def __init__(
        self, admission: Admission, verifier: Verifier, metrics: QueryMetrics, tracer: Tracer
    ) -> None:
        self._admission = admission
        self._verifier = verifier
        self._metrics = metrics
        self._tracer = tracer
        self._tarpit = Tarpit()

    def handler(
        self, name: str, answer: Answer[Request], request_type: type[Request], cost: int = 1
    ) -> grpc.RpcMethodHandler[bytes, bytes]:
        """Return the handler of a call that counts as `cost` queries."""
        full = f"{SERVICE}/{name}"

        async def answered(user_id: UserId, context: Context) -> bytes:
            request = _parse(await _read(context), request_type)
            with self._tracer.serving(spans.QUERY, caller(context), {spans.RPC: full}, name=full):
                async with self._admission.reading, asyncio.timeout(ANSWER_TIMEOUT_S):
                    return await answer(user_id, request)

        async def call(_: object, context: Context) -> None:
            if refusal := await self._respond(name, answered, context, cost):
                await self._tarpit.hold(refusal)
                refuse(context, refusal)

        return grpc.stream_stream_rpc_method_handler(call)

    async def _respond(
        self, name: str, answered: Answer[Context], context: Context, cost: int
    ) -> Refusal | None:
        """Answer a call, or return why it is refused."""
        begun_s = time.monotonic()
        refusal: Refusal | None = None
        try:
            await self._admit(answered, context, cost)
        except Refusal as refused:
            refusal = refused.detached()
        except (Unavailable, TimeoutError) as error:
            log.warning("%s was not answered: %s", name, error or "the history is too slow")
            refusal = NOT_ANSWERING
        except Exception:
            log.exception("%s failed", name)
            refusal = INTERNAL
        finally:
            self._metrics.answered(name, refusal, time.monotonic() - begun_s)
        return refusal

    async def _admit(self, answered: Answer[Context], context: Context, cost: int) -> None:
        _, identity = authenticate(context, self._verifier)
        with self._admission.admitted(identity.user_id, cost):
            answer = await answered(identity.user_id, context)
            self._admission.answered(identity.user_id, len(answer))
            await context.write(answer)  # returns when the client's window has taken it


async def _read(context: Context) -> bytes:
    """Read the request, which has to come soon. Raises `Refusal`."""
    try:
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            raw = await context.read()
    except TimeoutError:
        raise Refusal(
            errors_pb2.ERROR_CODE_TIMEOUT,
            f"no request came within {REQUEST_TIMEOUT_S:g} s: send one at once",
        ) from None
    if raw is grpc.aio.EOF:
        raise Invalid("the call has no request: send one")
    return bytes(raw)


def _parse(raw: bytes, request_type: type[Request]) -> Request:
    try:
        return request_type.FromString(raw)
    except DecodeError:
        raise Invalid(
            f"the request is no cecochat.v1.{request_type.__name__}: encode it as the proto says",
        ) from None
