"""What every query goes through, whichever transport it comes over: who asks, whether they may ask
now, how long it may take, and what is told of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError, Message
from prometheus_client import CollectorRegistry, Counter, Histogram

from cecochat.auth.tokens import Verifier, bearer
from cecochat.domain.errors import Invalid, Refusal, Unavailable
from cecochat.domain.log.ids import UserId, app_of, user_id
from cecochat.internal.v1.internal_pb2 import HistoryLoad, Load, Query
from cecochat.runtime.arriving import Arrivals
from cecochat.runtime.exchange import ANSWER_TIMEOUT_S, Exchange, deadline
from cecochat.runtime.grpc import INTERNAL
from cecochat.runtime.metrics import of_apps
from cecochat.runtime.tarpit import Tarpit
from cecochat.runtime.unread import Unread
from cecochat.servers.history.admission import Admission
from cecochat.servers.history.desk import Desk
from cecochat.servers.history.queries import Queries
from cecochat.servers.history.reporting import Reporting
from cecochat.servers.history.searching import Searching
from cecochat.telemetry import spans
from cecochat.telemetry.tracing import Tracer
from cecochat.v1 import errors_pb2
from cecochat.v1.history_pb2 import (
    FindMessageRequest,
    FindMessageResponse,
    GetChatsRequest,
    GetChatsResponse,
    GetGroupRequest,
    GetGroupResponse,
    GetMessagesRequest,
    GetMessagesResponse,
    ListMembersRequest,
    ListMembersResponse,
    SearchMessagesRequest,
    SearchMessagesResponse,
)
from cecochat.v1.reporting_pb2 import (
    BlockRequest,
    BlockResponse,
    ListBlocksRequest,
    ListBlocksResponse,
    ReportRequest,
    ReportResponse,
    UnblockRequest,
    UnblockResponse,
)
from cecochat.where.server import Where

log = logging.getLogger(__name__)

SERVICE = "cecochat.v1.History"
RECEIVE_MAX_BYTES = 64 << 10
FIND_COST = 10
"""How many queries a `FindMessage` counts as. It reads the log of each partition that the message
concerns, and asks messaging servers.
"""
SEARCH_COST = 10
"""How many queries a `SearchMessages` counts as. It may look at many messages for each that it
answers.
"""
REPORT_COST = 10
"""How many queries a `Report` counts as, since somebody has to read it."""

SEARCH = (SearchMessagesRequest, SearchMessagesResponse)

NOT_ANSWERING = Refusal(
    errors_pb2.ERROR_CODE_UNAVAILABLE, "the history does not answer: ask again later", 1_000
)


class Call(NamedTuple):
    """A call of the service: who answers it, with a serialized `response`, and how many queries it
    counts as.
    """

    name: str
    answer: Callable[[UserId, Any], Awaitable[bytes]]
    request: type[Message]
    response: type[Message]
    cost: int = 1


class QueryMetrics:
    """The metrics of the queries."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._load = HistoryLoad()  # what control asks for; the metric has the same
        self._seconds = Histogram(
            "cecochat_query_seconds",
            "Time to answer, by call and code.",
            ["call", "code"],
            registry=registry,
        )
        self._app_queries = of_apps("queries", "Queries of users and of back ends", registry)
        self.given_up = Counter(
            "cecochat_unread_answers_given_up_total",
            "Answers that were not read and took too much memory, so that their connection was "
            "ended.",
            registry=registry,
        )

    @property
    def load(self) -> Load:
        """What this server carries now."""
        return Load(history=self._load)

    def asked(self, id_: str) -> None:
        """Note that somebody asks, or that somebody else asks for them."""
        self._app_queries.labels(app_of(id_)).inc()

    def answered(self, call: str, refusal: Refusal | None, took_s: float) -> None:
        """Note that a query was answered."""
        self._seconds.labels(call, refusal.name if refusal else "ok").observe(took_s)
        self._load.queries += 1
        self._load.query_seconds += took_s


class Calls:
    """Answers the calls of `cecochat.v1.History`. All transports of a server share one."""

    def __init__(
        self,
        queries: Queries,
        searching: Searching,
        where: Where,
        reporting: Reporting,
        desk: Desk,
        admission: Admission,
        verifier: Verifier,
        metrics: QueryMetrics,
        tracer: Tracer,
    ) -> None:
        self.offered = (
            Call("GetMessages", queries.messages, GetMessagesRequest, GetMessagesResponse),
            Call("GetChats", queries.chats, GetChatsRequest, GetChatsResponse),
            Call("GetGroup", queries.group, GetGroupRequest, GetGroupResponse),
            Call("ListMembers", queries.members, ListMembersRequest, ListMembersResponse),
            Call("SearchMessages", searching.messages, *SEARCH, SEARCH_COST),
            Call("FindMessage", where.call, FindMessageRequest, FindMessageResponse, FIND_COST),
            Call("Report", reporting.report, ReportRequest, ReportResponse, REPORT_COST),
            Call("Block", reporting.block, BlockRequest, BlockResponse),
            Call("Unblock", reporting.unblock, UnblockRequest, UnblockResponse),
            Call("ListBlocks", reporting.blocks, ListBlocksRequest, ListBlocksResponse),
        )
        self._desk = desk
        self._admission = admission
        self._arrivals = Arrivals()
        self._unread = Unread()
        self._verifier = verifier
        self._metrics = metrics
        self._tracer = tracer
        self._tarpit = Tarpit()

    async def respond(self, call: Call, exchange: Exchange) -> Refusal | None:
        """Answer a call, or return why it is refused, after the wait that a flood has to expect."""
        begun_s, took_s = time.monotonic(), None
        refusal: Refusal | None = None
        try:
            with ExitStack() as under_way:
                encoded = await self._admit(call, exchange, under_way)
                took_s = time.monotonic() - begun_s  # whoever reads late does not make us slow
                await exchange.write(encoded)
        except Refusal as refused:
            refusal = refused.detached()
        except (Unavailable, TimeoutError) as error:
            log.warning("%s was not answered: %s", call.name, error or "the history is too slow")
            refusal = NOT_ANSWERING
        except Exception:
            log.exception("%s failed", call.name)
            refusal = INTERNAL
        finally:
            took_s = time.monotonic() - begun_s if took_s is None else took_s
            self._metrics.answered(call.name, refusal, took_s)
        if refusal:
            exchange.drop()
            await self._tarpit.hold(refusal)
        return refusal

    async def _admit(self, call: Call, exchange: Exchange, under_way: ExitStack) -> bytes:
        """Return the encoded answer, which is held until the call is no longer under way."""
        caller = self._verifier.verify(bearer(exchange.authorization)).user_id
        self._metrics.asked(caller)
        under_way.enter_context(self._admission.admitted(caller, call.cost))
        async with self._arrivals.soon():
            request = await exchange.read(call.request)
        with self._admission.placed():
            answer = await self._answer(call, exchange, caller, request)
        self._admission.answered(caller, len(answer))
        encoded = exchange.encoded(answer)
        size_bytes = len(encoded) * exchange.copies
        give_up = partial(self._give_up, exchange)
        under_way.enter_context(self._unread.held(caller, size_bytes, give_up))
        return encoded

    async def answer_for(self, query: Query) -> bytes:
        """Answer a query that another server passes on in the name of a user, or the call of a
        moderator that one passes on in the name of a service. Raises `Refusal`.
        """
        self._metrics.asked(query.service or query.user_id)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S), self._admission.reading:
                if query.service:
                    return await self._desk.answer(query.call, query.service, query.request)
                return await self._answer_for(query)
        except DecodeError:
            raise Invalid(f"the request is no {query.call}Request") from None
        except (Unavailable, TimeoutError):
            raise NOT_ANSWERING from None

    async def _answer_for(self, query: Query) -> bytes:
        call = next((each for each in self.offered if each.name == query.call), None)
        if call is None:
            raise Refusal(errors_pb2.ERROR_CODE_UNIMPLEMENTED, f"there is no call {query.call!r}")
        request = call.request.FromString(query.request)
        return await call.answer(user_id(query.user_id), request)

    def _give_up(self, exchange: Exchange) -> None:
        self._metrics.given_up.inc()
        exchange.hang_up()

    async def _answer(
        self, call: Call, exchange: Exchange, caller: UserId, request: Message
    ) -> bytes:
        full = f"{SERVICE}/{call.name}"
        rpc = {spans.RPC: full}
        with self._tracer.serving(spans.QUERY, exchange.traceparent, rpc, name=full):
            async with deadline(exchange), self._admission.reading:
                return await call.answer(caller, request)
