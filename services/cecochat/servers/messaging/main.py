"""Starts a messaging server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from sanic import Request
from sanic.response import HTTPResponse
from sanic.response import json as json_response

from cecochat.internal.routes import InternalRoutes
from cecochat.ports.discovery import Instance
from cecochat.runtime import grpc, internal
from cecochat.runtime.follow import follow
from cecochat.runtime.http import App
from cecochat.runtime.lifetime import drained, registered, running
from cecochat.runtime.metrics import watch_loop
from cecochat.runtime.parts import Parts, instance, new_registry
from cecochat.runtime.remembered import Memory, show_memory
from cecochat.runtime.revocations import follow_revocations
from cecochat.servers.messaging.loading import Log
from cecochat.servers.messaging.ownership import Ownership
from cecochat.servers.messaging.server import MessagingServer
from cecochat.servers.messaging.sessions import show_sessions, user_sessions
from cecochat.servers.messaging.transport.grpc import RECEIVE_MAX_BYTES, SERVICE, handler


@asynccontextmanager
async def messaging(parts: Parts, server_id: str) -> AsyncIterator[Instance]:
    """Run a messaging server that owns what is assigned to `server_id`. It drains when the context
    is left. It is registered before it owns anything, since only registered servers are assigned
    partitions.
    """
    registry = new_registry(parts)
    tracer = parts.tracing.tracer("messaging", server_id, registry)
    backplane, settings = parts.backplane, parts.settings
    log = Log(backplane, await backplane.log_id(), await backplane.partition_count())
    live = partial(parts.discovery.live, "messaging")
    memory = Memory()
    verifier = parts.verifier.counted(registry)
    server = MessagingServer(server_id, log, verifier, registry, live, tracer, memory)
    app = internal.app(parts.guard, "messaging", server_id, registry, lambda: server.not_ready)
    show_partitions(app, server.ownership)
    show_memory(app, server_id, memory)
    show_sessions(app, server)
    routes = InternalRoutes(app, server_id)
    routes.load(lambda: server.load)
    routes.partitions(server.ownership.owned)
    routes.sessions(partial(user_sessions, server))
    async with AsyncExitStack() as stack:
        port, health = await stack.enter_async_context(
            grpc.serving(
                handler(server),
                SERVICE,
                settings.host,
                settings.messaging_port,
                RECEIVE_MAX_BYTES,
                parts.certificate,
            )
        )
        health_port = await stack.enter_async_context(
            internal.serving(app, settings, settings.messaging_health_port, parts.internal)
        )
        following = (parts.configuration, registry)
        await stack.enter_async_context(
            running(
                follow(*following, server.configure, tracer, memory),
                follow_revocations(*following, verifier, tracer, memory, server.end_revoked),
                server.run(parts.configuration),
                watch_loop(registry),
            )
        )
        await stack.enter_async_context(drained(server.drain))
        this = instance(parts, "messaging", server_id, port, health_port)
        await stack.enter_async_context(registered(parts.discovery, this))
        await verifier.informed.wait()
        await server.ownership.until_ready()
        await stack.enter_async_context(grpc.said_to_serve(health, SERVICE))
        yield this


def show_partitions(app: App, ownership: Ownership) -> None:
    """Add `GET /partitions`, which shows people what this server owns."""

    @app.get("/partitions", ctx_scope="read")
    async def partitions(_: Request) -> HTTPResponse:
        return json_response(ownership.shown())
