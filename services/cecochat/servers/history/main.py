"""Starts a history server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from cecochat.domain.cluster.configuration import Config
from cecochat.internal.routes import InternalRoutes
from cecochat.ports.discovery import Instance
from cecochat.runtime import grpc, internal
from cecochat.runtime.follow import follow
from cecochat.runtime.lifetime import registered, running
from cecochat.runtime.metrics import watch_loop
from cecochat.runtime.parts import Parts, instance, new_registry
from cecochat.runtime.remembered import Memory, show_memory
from cecochat.runtime.revocations import add_revoking, follow_revocations
from cecochat.servers.history.admission import Admission
from cecochat.servers.history.holes import HoleWatch
from cecochat.servers.history.letters import Letters
from cecochat.servers.history.queries import Queries
from cecochat.servers.history.routes import add_routes
from cecochat.servers.history.transport import (
    CONNECTION_AGE_MS,
    RECEIVE_MAX_BYTES,
    SERVICE,
    QueryMetrics,
    handler,
)
from cecochat.where.facts import Sources
from cecochat.where.server import Where


@asynccontextmanager
async def history(parts: Parts, server_id: str) -> AsyncIterator[Instance]:
    """Run a history server. When the context is left, it finishes the calls under way."""
    registry = new_registry(parts)
    tracer = parts.tracing.tracer("history", server_id, registry)
    assert parts.history
    settings = parts.settings
    log = parts.backplane
    log_id, partitions = await log.log_id(), await log.partition_count()
    queries = Queries(parts.history, log_id, partitions, tracer)
    live = partial(parts.discovery.live, "messaging")
    asking = parts.asking(server_id, "people")
    where = Where(Sources(log, parts.history, log_id, partitions, live, asking))
    app = internal.app(parts.guard, "history", server_id, registry, lambda: None)
    add_routes(app, where, parts.history, Letters(log, parts.history, log_id, partitions))
    add_revoking(app, parts.configuration)
    memory = Memory()
    show_memory(app, server_id, memory)
    metrics = QueryMetrics(registry)
    InternalRoutes(app, server_id).load(lambda: metrics.load)
    verifier = parts.verifier.counted(registry)

    def configure(config: Config) -> None:
        queries.configure(config)
        verifier.configure(config)

    async with AsyncExitStack() as stack:
        port, health = await stack.enter_async_context(
            grpc.serving(
                handler(
                    queries, where, Admission(lambda: queries.config), verifier, metrics, tracer
                ),
                SERVICE,
                settings.host,
                settings.history_port,
                RECEIVE_MAX_BYTES,
                parts.certificate,
                CONNECTION_AGE_MS,
            )
        )
        health_port = await stack.enter_async_context(
            internal.serving(app, settings, settings.history_health_port, parts.internal)
        )
        await stack.enter_async_context(
            running(
                follow(parts.configuration, registry, configure, tracer, memory),
                follow_revocations(parts.configuration, registry, verifier, tracer, memory),
                watch_loop(registry),
                HoleWatch(parts.history, registry).run(),
            )
        )
        this = instance(parts, "history", server_id, port, health_port)
        await verifier.informed.wait()
        await stack.enter_async_context(registered(parts.discovery, this))
        await stack.enter_async_context(grpc.said_to_serve(health, SERVICE))
        yield this
