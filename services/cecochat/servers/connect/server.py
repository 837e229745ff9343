"""The connect server, which tells callers over HTTP where their messaging server is."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import aclosing
from functools import partial
from itertools import count
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from sanic import Request, Sanic
from sanic.response import HTTPResponse
from sanic.response import json as json_response

from cecochat.auth.tokens import Verifier, bearer
from cecochat.documents.follow import Following, valid
from cecochat.domain.cluster import assignment
from cecochat.domain.cluster.configuration import Config
from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import UserId
from cecochat.domain.session.bucket import Rates
from cecochat.internal.v1.internal_pb2 import ConnectLoad, Load
from cecochat.ports.configuration import ASSIGNMENT
from cecochat.ports.discovery import Discovery, Instance
from cecochat.runtime.http import error_response
from cecochat.runtime.tarpit import Tarpit
from cecochat.telemetry import spans
from cecochat.telemetry.tracing import OFF, Tracer
from cecochat.v1 import errors_pb2

VALID_FOR_S = 60
RETRY_MS = 1_000


class Directory:
    """Answers lookups from what it was told last, never from the network."""

    def __init__(self, discovery: Discovery, partitions: int) -> None:
        self._discovery = discovery
        self._partitions = partitions
        self._assignment: dict[int, str] | None = None  # partition -> server id
        self._config = Config()
        self._turn = count()
        self._rates = Rates("looks up")
        self.ready = asyncio.Event()  # set once the assignment is known

    def configure(self, config: Config) -> None:
        """Follow a new configuration."""
        self._config = config

    async def follow(self, following: Following) -> None:
        """Follow the assignment, until cancelled."""
        parse = partial(assignment.parse, partitions=self._partitions)
        async with aclosing(valid(following, ASSIGNMENT, parse)) as assignments:
            async for _, owners in assignments:
                self._assignment = owners
                self.ready.set()

    @property
    def not_ready(self) -> str | None:
        """Why this server cannot answer yet, or None if it is ready."""
        return "waiting for the assignment" if self._assignment is None else None

    def works(self) -> dict[str, bool]:
        """Return what a lookup would find now: whether a server of each kind answers."""
        live = {name: bool(self._discovery.live(name)) for name in ("messaging", "history")}
        return {"connect": self._assignment is not None, **live}

    def reached(self) -> list[str]:
        """Return the URLs at which browsers reach the servers that are live now."""
        live = [*self._discovery.live("messaging"), *self._discovery.live("history")]
        return [each.web for each in live if each.web]

    def lookup(self, user_id: UserId) -> dict[str, Any]:
        """Return where a user has to go, as an object for JSON. There is no `history` and no
        `history_http` while no history server is live. Raises `Refusal`: unavailable while no live
        server owns the user's partition, or rate_limited.
        """
        config = self._config
        self._rates.check(
            user_id, time.monotonic(), config.connects_rate_per_user, config.connects_burst
        )
        partition = partition_of(user_id, self._partitions)
        messaging = self._owner(partition)
        return {
            "user_id": user_id,
            "partition": partition,
            "server_id": messaging.instance_id,
            "messaging": messaging.address,
            **({"websocket": messaging.web} if messaging.web else {}),
            **self._history(),
            "valid_for_s": VALID_FOR_S,
            "backoff": {
                "base_s": config.connect_backoff_base_s,
                "factor": config.connect_backoff_factor,
                "max_s": config.connect_backoff_max_s,
                "jitter": config.connect_backoff_jitter,
            },
        }

    def _owner(self, partition: int) -> Instance:
        server_id = (self._assignment or {}).get(partition)
        for instance in self._discovery.live("messaging"):
            if instance.instance_id == server_id:
                return instance
        raise Refusal(
            errors_pb2.ERROR_CODE_UNAVAILABLE,
            f"no live messaging server owns partition {partition} at the moment: try again",
            RETRY_MS,
        )

    def _history(self) -> dict[str, str]:
        """Return the addresses of history servers. They take turns, so that a client that asks
        again because one does not answer gets another. Those of an earlier version have no HTTP.
        """
        live, turn = self._discovery.live("history"), next(self._turn)
        urls = [each.web for each in live if each.web]
        found = {"history": [each.address for each in live], "history_http": urls}
        # a client can chat without it
        return {name: some[turn % len(some)] for name, some in found.items() if some}


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
        self._load.lookups += 1


def add_routes(
    app: Sanic[Any, Any],
    directory: Directory,
    verifier: Verifier,
    metrics: ConnectMetrics,
    tracer: Tracer = OFF,
) -> None:
    """Add `GET /v1/connect`, and `GET /livez` for load balancers."""
    tarpit = Tarpit()

    @app.get("/livez")
    async def livez(_: Request) -> HTTPResponse:
        return json_response({"status": "alive"})

    @app.get("/v1/connect")
    async def connect(request: Request) -> HTTPResponse:
        with metrics.seconds.time():
            answer, refusal = answered(request)
        metrics.answered(refusal)
        if refusal:
            await tarpit.hold(refusal)
        return answer

    def answered(request: Request) -> tuple[HTTPResponse, Refusal | None]:
        attributes = {spans.HTTP_METHOD: "GET", spans.HTTP_ROUTE: "/v1/connect"}
        try:
            identity = verifier.verify(bearer(request.headers.get("authorization")))
        except Refusal as refusal:
            return error_response(refusal), refusal.detached()
        parent = request.headers.get("traceparent", "")  # only from callers with a valid token
        with tracer.serving(spans.LOOKUP, parent, attributes) as span:
            answer, refused = looked_up(identity.user_id)
            if span:
                span.set_attribute(spans.HTTP_STATUS, answer.status)
        return answer, refused

    def looked_up(user_id: UserId) -> tuple[HTTPResponse, Refusal | None]:
        try:
            return json_response(directory.lookup(user_id), dumps=json.dumps), None
        except Refusal as refusal:
            return error_response(refusal), refusal.detached()
