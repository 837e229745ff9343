"""Starts a hook server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

from cecochat.auth.hooks import Signer
from cecochat.auth.operators import cluster_secret
from cecochat.documents.follow import Following, follow, follow_document
from cecochat.documents.moderation import follow_moderation
from cecochat.documents.remembered import show_memory
from cecochat.documents.retention import KnownRetention
from cecochat.documents.revocations import follow_revocations
from cecochat.domain.hooks.endpoints import parse
from cecochat.internal.client import InternalClient
from cecochat.internal.routes import InternalRoutes
from cecochat.ports.backplane import Log
from cecochat.ports.burying import Burial
from cecochat.ports.configuration import HOOKS
from cecochat.ports.discovery import Instance, Service
from cecochat.runtime import internal, web
from cecochat.runtime.lifetime import registered, running
from cecochat.runtime.metrics import watch_loop
from cecochat.runtime.parts import Parts, instance, new_registry
from cecochat.sealing.opening import Opening
from cecochat.servers.hooks import posting
from cecochat.servers.hooks.metrics import HookMetrics
from cecochat.servers.hooks.people import ASK_S, People
from cecochat.servers.hooks.routes import add_routes, stream
from cecochat.servers.hooks.worker import Hooks

ASKED: Final[tuple[Service, Service]] = ("messaging", "history")


@asynccontextmanager
async def hooks(parts: Parts, server_id: str) -> AsyncIterator[Instance]:
    """Run a hook server, a member of the group `hooks`. When the context is left, it commits what
    endpoints have taken.
    """
    registry = new_registry(parts)
    tracer = parts.tracing.tracer("hooks", server_id, registry)
    settings, log = parts.settings, await Log.of(parts.backplane)
    following = Following(parts.configuration, registry, tracer)
    app = internal.app(parts.guard, "hooks", server_id, registry, lambda: None)
    assert parts.keys and parts.silences, "they are opened for hook servers"
    opening = Opening(parts.keys)
    retention = KnownRetention(opening.keep)
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(web.client(posting.ANSWER_S))
        poster = posting.Poster(http, Signer(cluster_secret(settings)), opening)
        asking = parts.asking(server_id, "pass_on")(timeout_s=ASK_S)
        client = InternalClient(await stack.enter_async_context(asking))
        owners, histories = (partial(parts.discovery.live, each) for each in ASKED)
        people = People(client, owners, histories, log.id, parts.keys)
        burial = Burial(parts.backplane)
        metrics = HookMetrics(registry)
        worker = Hooks(log, poster, burial, metrics, people, parts.silences)
        show_memory(app, server_id, following.memory)
        routes = InternalRoutes(app, server_id)
        routes.load(lambda: worker.load)
        routes.events(partial(stream, log, opening, retention.informed))
        add_routes(app, log, worker, poster, Burial(parts.backplane))
        health_port = await stack.enter_async_context(
            internal.serving(app, settings, settings.hooks_health_port, parts.internal)
        )
        await stack.enter_async_context(
            running(
                follow(following, worker.configure),
                follow_document(following, HOOKS, parse, worker.apply),
                follow_revocations(following, parts.verifier, opening.follow),
                retention.follow(following),
                follow_moderation(following, people.moderate),
                _run(worker, retention),
                watch_loop(registry),
            )
        )
        this = instance(parts, "hooks", server_id, health_port, health_port)
        await stack.enter_async_context(registered(parts.discovery, this))
        yield this


async def _run(worker: Hooks, retention: KnownRetention) -> None:
    await retention.informed.wait()
    await worker.run()
