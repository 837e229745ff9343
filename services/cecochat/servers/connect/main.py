"""Starts a connect server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from cecochat.auth.operators import cluster_secret
from cecochat.documents.apps import follow_apps
from cecochat.documents.follow import Following, follow
from cecochat.documents.moderation import follow_moderation
from cecochat.documents.remembered import show_memory
from cecochat.documents.revocations import follow_revocations
from cecochat.domain.cluster.apps import Apps
from cecochat.domain.cluster.configuration import Config
from cecochat.internal.client import InternalClient
from cecochat.internal.routes import InternalRoutes
from cecochat.ports.backplane import Log
from cecochat.ports.discovery import Instance
from cecochat.ports.files import ServedFiles
from cecochat.runtime import grpc, http, internal, openapi, unary
from cecochat.runtime.lifetime import registered, running
from cecochat.runtime.metrics import watch_loop
from cecochat.runtime.origins import Origins
from cecochat.runtime.parts import Parts, instance, new_registry
from cecochat.servers.connect import attachments, calling, development, events, front, page
from cecochat.servers.connect.backend import Backend, BackendMetrics
from cecochat.servers.connect.files import add_files
from cecochat.servers.connect.lookups import ConnectMetrics, add_routes
from cecochat.servers.connect.passing import ASK_S, Passing
from cecochat.servers.connect.server import Directory
from cecochat.uploads.receipts import Receipts


@asynccontextmanager
async def connect(parts: Parts, server_id: str) -> AsyncIterator[Instance]:
    """Run a connect server. It is registered once it knows the assignment. Clients use a listener
    of their own, apart from health and metrics.
    """
    registry = new_registry(parts)
    tracer = parts.tracing.tracer("connect", server_id, registry)
    log = await Log.of(parts.backplane)
    directory = Directory(parts.discovery, log.partitions)
    following = Following(parts.configuration, registry, tracer)
    verifier = parts.verifier.counted(registry)
    metrics = ConnectMetrics(registry)
    for_clients = http.app("connect-for-clients", unary.refused)
    origins = Origins(parts.settings, parts.discovery)
    origins.watch(for_clients, apart_from=(development.PATH,))
    add_routes(for_clients, directory, verifier, metrics, tracer)
    asking = parts.asking(server_id, "pass_on")(timeout_s=ASK_S)
    live = partial(parts.discovery.live, "history")
    passing = Passing(InternalClient(asking), directory.owner_of, live, log.id)
    services = verifier.for_services()
    receipts = Receipts(cluster_secret(parts.settings))
    carried = attachments.Attachments(
        parts.files,
        receipts,
        passing,
        log.partition_of,
        verifier,
        attachments.AttachmentMetrics(registry),
    )
    backend = Backend(
        passing,
        log.partition_of,
        services,
        parts.configuration,
        BackendMetrics(registry),
        metrics.carry,
        carried,
    )
    over_grpc = calling.add(for_clients, backend)
    tailing = parts.asking(server_id, "pass_on")(timeout_s=events.SILENT_S)
    hooks = partial(parts.discovery.live, "hooks")
    events.add_route(for_clients, events.Events(backend, InternalClient(tailing), hooks))
    attachments.add(for_clients, carried)
    if isinstance(parts.files, ServedFiles):
        add_files(for_clients, parts.files)
    openapi.add_route(for_clients)
    if parts.page_secret:
        development.add_tokens(for_clients, parts.page_secret, parts.settings)
        page.add_page(for_clients, directory, parts.settings, parts.files)
    else:
        front.add_page(for_clients, directory)

    app = internal.app(parts.guard, "connect", server_id, registry, lambda: directory.not_ready)
    show_memory(app, server_id, following.memory)
    InternalRoutes(app, server_id).load(lambda: metrics.load)

    def configure(config: Config) -> None:
        directory.configure(config)
        verifier.configure(config)
        backend.configure(config)
        passing.pace.per_s = config.backend_pace
        carried.configure(config)
        origins.configure(config)

    def know(apps: Apps) -> None:
        services.know(apps)
        verifier.know(apps)

    settings = parts.settings
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asking)
        await stack.enter_async_context(tailing)
        port = await stack.enter_async_context(
            http.serving(for_clients, settings.host, settings.connect_port, parts.certificate)
        )
        _, health = await stack.enter_async_context(
            grpc.serving(over_grpc, settings.host, settings.connect_grpc_port, parts.certificate)
        )
        health_port = await stack.enter_async_context(
            internal.serving(app, settings, settings.connect_health_port, parts.internal)
        )
        await stack.enter_async_context(
            running(
                follow(following, configure),
                follow_revocations(following, verifier),
                follow_moderation(following, verifier.moderate),
                follow_apps(following, know),
                directory.follow(following),
                watch_loop(registry),
            )
        )
        await directory.ready.wait()
        await verifier.informed.wait()
        this = instance(parts, "connect", server_id, port, health_port)
        await stack.enter_async_context(registered(parts.discovery, this))
        await stack.enter_async_context(grpc.said_to_serve(health, over_grpc))
        yield this
