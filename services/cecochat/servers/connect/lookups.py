"""Answers lookups over HTTP, in both forms: `GET /v1/connect`, and a unary call of Connect."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from prometheus_client import CollectorRegistry, Counter, Histogram
from sanic import Request
from sanic.response import HTTPResponse
from sanic.response import json as json_response

from cecochat.auth.tokens import Verifier, bearer
from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import UserId
from cecochat.internal.v1.internal_pb2 import ConnectLoad, Load
from cecochat.runtime import unary
from cecochat.runtime.arriving import Arrivals
from cecochat.runtime.bodies import drop
from cecochat.runtime.http import STATUS, App, error_response
from cecochat.runtime.tarpit import Tarpit
from cecochat.runtime.unary import Unary
from cecochat.servers.connect.server import Directory
from cecochat.telemetry import spans
from cecochat.telemetry.tracing import OFF, Tracer
from cecochat.v1.directory_pb2 import LookupRequest, LookupResponse

CONNECT: Final = "/v1/connect"
LOOKUP: Final = "/cecochat.v1.Directory/Lookup"
LOOKUP_MAX_BYTES: Final = 1 << 10  # its request has no fields yet


class ConnectMetrics:
    """The metrics of a connect server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._load = ConnectLoad()  # what control asks for; the metric has the same
        self._lookups = Counter(
            "cecochat_connects", "Lookups, by code.", ["code"], registry=registry
        )
        self.seconds = Histogram(
            "cecochat_connect_seconds", "Time to answer a lookup.", registry=registry
        )

    @property
    def load(self) -> Load:
        """What this server carries now."""
        return Load(connect=self._load)

    def answered(self, refusal: Refusal | None) -> None:
        """Note that a lookup was answered."""
        self._lookups.labels(refusal.name if refusal else "ok").inc()
        self.carry(1)

    def carry(self, lookups: int) -> None:
        """Note work that weighs as much as so many lookups."""
        self._load.lookups += lookups


class Lookups:
    """What every lookup goes through: who asks, and what is told of it."""

    def __init__(
        self, directory: Directory, verifier: Verifier, metrics: ConnectMetrics, tracer: Tracer
    ) -> None:
        self._directory = directory
        self._verifier = verifier
        self._metrics = metrics
        self._tracer = tracer
        self._arrivals = Arrivals()
        self._tarpit = Tarpit()

    async def answer(
        self,
        request: Request,
        route: str,
        read: Callable[[], Awaitable[object]] | None = None,
    ) -> LookupResponse | Refusal:
        """Return where the user of a token has to go, or why that is refused, after the wait that a
        flood has to expect. `read` reads the body, and raises `Refusal` if it makes no sense.
        """
        refusal = None
        parent = request.headers.get("traceparent", "")
        try:
            identity = self._verifier.verify(bearer(request.headers.get("authorization", "")))
            if read:
                async with self._arrivals.soon():
                    await read()
            with self._metrics.seconds.time():
                # only callers with a valid token continue a trace
                return self._traced(identity.user_id, parent, request.method, route)
        except Refusal as refused:
            refusal = refused.detached()
        finally:
            self._metrics.answered(refusal)
        drop(request)
        await self._tarpit.hold(refusal)
        return refusal

    def _traced(self, user_id: UserId, traceparent: str, method: str, route: str) -> LookupResponse:
        attributes = {spans.HTTP_METHOD: method, spans.HTTP_ROUTE: route}
        with self._tracer.serving(spans.LOOKUP, traceparent, attributes) as span:
            status = 200
            try:
                return self._directory.lookup(user_id)
            except Refusal as refusal:
                status = STATUS.get(refusal.error_code, 500)
                raise
            finally:
                if span:
                    span.set_attribute(spans.HTTP_STATUS, status)


def add_routes(
    app: App,
    directory: Directory,
    verifier: Verifier,
    metrics: ConnectMetrics,
    tracer: Tracer = OFF,
) -> None:
    """Add the lookups, and `GET /livez` for load balancers."""
    lookups = Lookups(directory, verifier, metrics, tracer)

    @app.get("/livez")
    async def livez(_: Request) -> HTTPResponse:
        return json_response({"status": "alive"})

    @app.get(CONNECT)
    async def connect(request: Request) -> HTTPResponse:
        found = await lookups.answer(request, CONNECT)
        if isinstance(found, Refusal):
            return error_response(found)
        return json_response(as_json(found), dumps=json.dumps)

    async def lookup(asked: Unary) -> Refusal | None:
        found = await lookups.answer(asked.request, LOOKUP, partial(asked.read, LookupRequest))
        if isinstance(found, Refusal):
            return found
        await asked.write(asked.encoded(found.SerializeToString(), LookupResponse))
        return None

    unary.add_route(app, LOOKUP, lookup, LOOKUP_MAX_BYTES)


def as_json(found: LookupResponse) -> dict[str, Any]:
    """Return the answer of `GET /v1/connect`. An address that there is not is left out."""
    value = MessageToDict(
        found, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    names = (field.name for field in LookupResponse.DESCRIPTOR.fields)
    return {name: value[name] for name in names if value[name] != ""}
