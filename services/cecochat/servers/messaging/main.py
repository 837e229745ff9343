"""Starts a messaging server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from sanic import Request
from sanic.response import HTTPResponse
from sanic.response import json as json_response

from cecochat.auth.hooks import Signer
from cecochat.auth.operators import cluster_secret
from cecochat.documents.apps import follow_apps
from cecochat.documents.follow import Following, follow
from cecochat.documents.moderation import follow_moderation
from cecochat.documents.remembered import show_memory
from cecochat.documents.retention import KnownRetention
from cecochat.documents.revocations import follow_revocations
from cecochat.domain.cluster.configuration import Config
from cecochat.internal.client import InternalClient
from cecochat.internal.routes import InternalRoutes
from cecochat.ports.backplane import Log
from cecochat.ports.discovery import Instance
from cecochat.runtime import grpc, internal, websocket
from cecochat.runtime.http import App
from cecochat.runtime.lifetime import drained, registered, running
from cecochat.runtime.metrics import watch_loop
from cecochat.runtime.origins import Origins
from cecochat.runtime.parts import Parts, instance, new_registry
from cecochat.servers.messaging.asking import ASK_S
from cecochat.servers.messaging.before import Asker
from cecochat.servers.messaging.blocking import Blocking
from cecochat.servers.messaging.calling import Calling
from cecochat.servers.messaging.host import Host
from cecochat.servers.messaging.metrics import MessagingMetrics
from cecochat.servers.messaging.ownership import Ownership
from cecochat.servers.messaging.server import MessagingServer
from cecochat.servers.messaging.sessions import show_sessions, user_sessions
from cecochat.servers.messaging.signal_metrics import SignalMetrics
from cecochat.servers.messaging.signalling import Signalling
from cecochat.servers.messaging.strangers import Strangers
from cecochat.servers.messaging.transport import websocket as over_websocket
from cecochat.servers.messaging.transport.grpc import service
from cecochat.uploads.receipts import Receipts


@asynccontextmanager
async def messaging(parts: Parts, server_id: str) -> AsyncIterator[Instance]:
    """Run a messaging server that owns what is assigned to `server_id`. It drains when the context
    is left. It is registered before it owns anything, since only registered servers are assigned
    partitions.
    """
    registry = new_registry(parts)
    tracer = parts.tracing.tracer("messaging", server_id, registry)
    settings = parts.settings
    assert parts.signals and parts.keys and parts.moderation, "they are opened for it"
    log = await Log.of(parts.backplane)
    live = partial(parts.discovery.live, "messaging")
    following = Following(parts.configuration, registry, tracer)
    verifier = parts.verifier.counted(registry)
    host = Host(server_id, log, MessagingMetrics(registry), live, tracer)
    http = parts.asking(server_id, "pass_on")(timeout_s=ASK_S)
    others = InternalClient(http)
    ownership = Ownership(host, following, others)
    signalling = Signalling(log, parts.signals, SignalMetrics(registry), ownership.owners)
    secret = cluster_secret(settings)
    receipts, asker = Receipts(secret), Asker(host.moderation, Signer(secret), host.metrics)
    blocking = Blocking(parts.moderation.blocks)
    strangers = Strangers(others, partial(parts.discovery.live, "history"), log)
    server = MessagingServer(
        host, ownership, signalling, verifier, parts.keys, receipts, asker, blocking, strangers
    )
    retention = KnownRetention(server.opening.keep)
    chat = service(server)
    origins = Origins(settings, parts.discovery)

    app = internal.app(parts.guard, "messaging", server_id, registry, lambda: server.not_ready)
    show_partitions(app, ownership)
    show_memory(app, server_id, following.memory)
    show_sessions(app, server)
    routes = InternalRoutes(app, server_id)
    routes.load(lambda: server.load)
    routes.partitions(ownership.owned)
    routes.asked(ownership.answer)
    routes.called(Calling(ownership.call, parts.keys, receipts, blocking).call)
    routes.sessions(partial(user_sessions, server))
    routes.present(partial(user_sessions, server))

    def configure(config: Config) -> None:
        server.configure(config)
        origins.configure(config)

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(http)
        stack.push_async_callback(asker.close)
        port, health = await stack.enter_async_context(
            grpc.serving(chat, settings.host, settings.messaging_port, parts.certificate)
        )
        websocket_port = await stack.enter_async_context(
            websocket.serving(
                over_websocket.endpoint(origins),
                over_websocket.service(server),
                settings.host,
                settings.messaging_websocket_port,
                parts.certificate,
            )
        )
        health_port = await stack.enter_async_context(
            internal.serving(app, settings, settings.messaging_health_port, parts.internal)
        )
        await stack.enter_async_context(
            running(
                follow(following, configure),
                follow_revocations(following, verifier, server.end_revoked),
                retention.follow(following),
                follow_moderation(following, server.moderate),
                follow_apps(following, server.know),
                server.check_tokens(),
                ownership.run(),
                signalling.run(),
                watch_loop(registry),
            )
        )
        await stack.enter_async_context(drained(server.drain))
        this = instance(parts, "messaging", server_id, port, health_port, websocket_port)
        await stack.enter_async_context(registered(parts.discovery, this))
        await verifier.informed.wait()
        await retention.informed.wait()
        await ownership.until_ready()
        signalling.owned()
        await stack.enter_async_context(grpc.said_to_serve(health, chat))
        yield this


def show_partitions(app: App, ownership: Ownership) -> None:
    """Add `GET /partitions`, which shows people what this server owns."""

    @app.get("/partitions", ctx_scope="read")
    async def partitions(_: Request) -> HTTPResponse:
        return json_response(ownership.shown())
