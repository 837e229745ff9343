"""Starts a control server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from cecochat.adapters import build
from cecochat.documents.follow import Following, follow
from cecochat.documents.remembered import show_memory
from cecochat.domain.cluster import apps, assignment, holds, retention, revocations, values
from cecochat.domain.cluster.configuration import Config
from cecochat.domain.hooks import endpoints
from cecochat.domain.moderation import rules
from cecochat.ports.configuration import (
    APPS,
    ASSIGNMENT,
    CONFIGURATION,
    HOLDS,
    HOOKS,
    MODERATION,
    RETENTION,
    REVOCATIONS,
)
from cecochat.ports.discovery import Instance
from cecochat.runtime import internal
from cecochat.runtime.lifetime import registered, running
from cecochat.runtime.metrics import watch_loop
from cecochat.runtime.parts import Parts, instance, new_registry
from cecochat.servers.control.decisions import Decisions
from cecochat.servers.control.documents import Documents
from cecochat.servers.control.late import LateRecords, late_records
from cecochat.servers.control.planner import Planner
from cecochat.servers.control.routes import add_routes
from cecochat.servers.control.server import Control
from cecochat.servers.control.sets import Sets


@asynccontextmanager
async def control(parts: Parts, server_id: str) -> AsyncIterator[Instance]:
    """Run a control server. It is registered once it has seen the live messaging servers and the
    assignment.
    """
    registry = new_registry(parts)
    tracer = parts.tracing.tracer("control", server_id, registry)
    settings, partitions = parts.settings, await parts.backplane.partition_count()
    decisions = Decisions(registry)
    asking = parts.asking(server_id, "metrics", "read")
    documents = Documents(
        parts.configuration,
        {
            CONFIGURATION: values.parse,
            ASSIGNMENT: partial(assignment.parse, partitions=partitions),
            REVOCATIONS: revocations.parse,
            HOOKS: endpoints.parse,
            RETENTION: retention.parse,
            MODERATION: rules.parse,
            HOLDS: holds.parse,
            APPS: apps.parse,
        },
        settings.data_dir / "control" / settings.namespace,
        decisions,
        parts.discovery,
        asking,
    )
    server = Control(
        server_id,
        parts.configuration,
        parts.discovery,
        documents,
        Planner(partitions),
        decisions,
        asking,
        tracer,
    )
    app = internal.app(parts.guard, "control", server_id, registry, lambda: server.not_ready)
    show_memory(app, server_id, documents.memory)
    async with AsyncExitStack() as stack:
        deployment = await stack.enter_async_context(build.deployment(settings))
        sets = Sets(deployment, parts.discovery, decisions, lambda: server.may_act, asking)
        late = LateRecords(
            parts.backplane,
            partitions,
            settings.retention_ms,
            late_records(registry),
            lambda: server.leads,
        )
        add_routes(app, server_id, server, sets, late, decisions)

        def configure(config: Config) -> None:
            sets.config = config
            server.pause(config.control_paused)

        port = await stack.enter_async_context(
            internal.serving(app, settings, settings.control_port, parts.internal)
        )
        await stack.enter_async_context(
            running(
                follow(Following(parts.configuration, registry, tracer), configure),
                server.run(),
                sets.run(),
                late.run(),
                watch_loop(registry),
            )
        )
        await server.ready.wait()
        this = instance(parts, "control", server_id, port, port)
        await stack.enter_async_context(registered(parts.discovery, this))
        await stack.enter_async_context(running(server.stand()))
        yield this
