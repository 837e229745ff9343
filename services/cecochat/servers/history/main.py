"""Starts a history server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from cecochat.documents.apps import follow_apps
from cecochat.documents.follow import Following, follow
from cecochat.documents.moderation import follow_moderation
from cecochat.documents.remembered import show_memory
from cecochat.documents.retention import KnownRetention, add_retaining
from cecochat.documents.revocations import add_revoking, follow_revocations
from cecochat.domain.cluster.configuration import Config
from cecochat.internal.routes import InternalRoutes
from cecochat.overview.facts import Facts, System
from cecochat.overview.routes import add_routes as add_page
from cecochat.ports.backplane import Log
from cecochat.ports.discovery import SERVICES, Instance
from cecochat.runtime import grpc, http, internal, openapi, unary
from cecochat.runtime.lifetime import registered, running
from cecochat.runtime.metrics import watch_loop
from cecochat.runtime.origins import Origins
from cecochat.runtime.parts import Parts, instance, new_registry
from cecochat.sealing.opening import Opening
from cecochat.sealing.reports import ReportTexts
from cecochat.servers.history import moderating
from cecochat.servers.history.admission import Admission
from cecochat.servers.history.calls import Calls, QueryMetrics
from cecochat.servers.history.dead_letters import DeadLetters
from cecochat.servers.history.desk import Desk
from cecochat.servers.history.holes import HoleWatch
from cecochat.servers.history.queries import Queries
from cecochat.servers.history.reporting import Reporting
from cecochat.servers.history.routes import add_routes
from cecochat.servers.history.ruling import Ruling
from cecochat.servers.history.searching import Searching
from cecochat.servers.history.sought import Seeking
from cecochat.servers.history.transport import http as over_http
from cecochat.servers.history.transport.grpc import service
from cecochat.settings import backends
from cecochat.where.facts import Sources
from cecochat.where.server import Where


@asynccontextmanager
async def history(parts: Parts, server_id: str) -> AsyncIterator[Instance]:
    """Run a history server. When the context is left, it finishes the calls under way."""
    registry = new_registry(parts)
    tracer = parts.tracing.tracer("history", server_id, registry)
    assert parts.history and parts.keys and parts.moderation, "they are opened for history servers"
    settings = parts.settings
    log = await Log.of(parts.backplane)
    opening = Opening(parts.keys)
    retention = KnownRetention(opening.keep)
    queries = Queries(parts.history, opening, log, tracer)
    searching = Searching(parts.history, parts.search, log, queries)
    live = partial(parts.discovery.live, "messaging")
    asking = parts.asking(server_id, "people")
    where = Where(Sources(log, parts.history, live, asking))
    following = Following(parts.configuration, registry, tracer)
    metrics = QueryMetrics(registry)
    verifier = parts.verifier.counted(registry)
    admission = Admission(lambda: queries.config)
    texts = ReportTexts(parts.keys)
    reporting = Reporting(parts.moderation, parts.history, queries, texts)
    ruling = Ruling(parts.configuration, parts.moderation.acts)
    desk = Desk(parts.moderation, parts.history, queries, texts, ruling)
    calls = Calls(queries, searching, where, reporting, desk, admission, verifier, metrics, tracer)
    over_grpc = service(calls)
    origins = Origins(settings, parts.discovery)
    for_clients = http.app("history-for-clients", unary.refused)
    origins.watch(for_clients)
    over_http.add_routes(for_clients, calls)
    openapi.add_route(for_clients)

    app = internal.app(parts.guard, "history", server_id, registry, lambda: None)
    add_routes(app, where, parts.history, DeadLetters(log, parts.history))
    moderating.add_routes(app, desk)
    add_revoking(app, parts.configuration)
    add_retaining(app, parts.configuration, parts.moderation.acts)
    facts = Facts(_system(parts, server_id))
    add_page(app, server_id, facts)
    show_memory(app, server_id, following.memory)
    routes = InternalRoutes(app, server_id)
    routes.load(lambda: metrics.load)
    routes.queries(calls.answer_for)
    routes.sought(Seeking(parts.history, queries.hold).find)
    routes.contact(queries.contacts.find)

    def configure(config: Config) -> None:
        queries.configure(config)
        verifier.configure(config)
        origins.configure(config)

    async with AsyncExitStack() as stack:
        port, health = await stack.enter_async_context(
            grpc.serving(over_grpc, settings.host, settings.history_port, parts.certificate)
        )
        web_port = await stack.enter_async_context(
            http.serving(for_clients, settings.host, settings.history_http_port, parts.certificate)
        )
        health_port = await stack.enter_async_context(
            internal.serving(app, settings, settings.history_health_port, parts.internal)
        )
        await stack.enter_async_context(
            running(
                follow(following, configure),
                follow_revocations(following, verifier, opening.follow),
                retention.follow(following),
                follow_moderation(following, verifier.moderate),
                follow_apps(following, verifier.know),
                watch_loop(registry),
                HoleWatch(parts.history, registry).run(),
                facts.run(),
            )
        )
        this = instance(parts, "history", server_id, port, health_port, web_port)
        await verifier.informed.wait()
        await retention.informed.wait()
        await stack.enter_async_context(registered(parts.discovery, this))
        await stack.enter_async_context(grpc.said_to_serve(health, over_grpc))
        yield this


def _system(parts: Parts, server_id: str) -> System:
    """Return the system that the operator's page shows. One process has no control server."""
    is_cluster = backends.is_shared("discovery", parts.settings)
    return System(
        parts.settings.namespace,
        [each for each in SERVICES if is_cluster or each != "control"],
        parts.configuration,
        parts.discovery,
        parts.asking(server_id, "read", "metrics"),
        parts.settings.prometheus_url,
    )
