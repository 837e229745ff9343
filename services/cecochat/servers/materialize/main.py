"""Starts a materialize server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from cecochat.auth.tokens import Verifier
from cecochat.documents.follow import Following, follow
from cecochat.documents.holds import KnownHolds
from cecochat.documents.remembered import show_memory
from cecochat.documents.retention import KnownRetention
from cecochat.documents.revocations import follow_revocations
from cecochat.domain.cluster.configuration import Config
from cecochat.domain.cluster.retention import Retention
from cecochat.internal.routes import InternalRoutes
from cecochat.ports.backplane import Log
from cecochat.ports.discovery import Instance
from cecochat.runtime import internal
from cecochat.runtime.lifetime import registered, running
from cecochat.runtime.metrics import watch_loop
from cecochat.runtime.parts import Parts, instance, new_registry
from cecochat.servers.materialize.auditor import Auditor
from cecochat.servers.materialize.collecting import Collector
from cecochat.servers.materialize.indexing import Indexer
from cecochat.servers.materialize.on_request import OnRequest
from cecochat.servers.materialize.routes import add_routes
from cecochat.servers.materialize.sweeping import Sweeper
from cecochat.servers.materialize.worker import Materializer


@asynccontextmanager
async def materialize(parts: Parts, server_id: str) -> AsyncIterator[Instance]:
    """Run a materialize server, a member of the group `materialize`. When the context is left, it
    writes and commits what it has begun.
    """
    registry = new_registry(parts)
    tracer = parts.tracing.tracer("materialize", server_id, registry)
    assert parts.history
    settings = parts.settings
    log = await Log.of(parts.backplane)
    worker = Materializer(parts.backplane, parts.history, log.id, registry, tracer)
    worker.log_keeps(settings.retention_ms)
    auditor = Auditor(parts.backplane, parts.history, registry, lambda: worker.partitions)
    on_request = OnRequest(parts.backplane, parts.history, auditor.note)
    following = Following(parts.configuration, registry, tracer)

    app = internal.app(parts.guard, "materialize", server_id, registry, lambda: worker.not_ready)
    show_memory(app, server_id, following.memory)
    InternalRoutes(app, server_id).load(lambda: worker.load)
    add_routes(app, server_id, auditor, on_request, log.partitions)

    def configure(config: Config) -> None:
        auditor.rate = config.audit_rate

    holds = KnownHolds(parts.configuration, parts.history)
    collector = Collector(log, parts.files, parts.history, holds, registry) if parts.files else None
    sweeper = Sweeper(
        parts.history,
        parts.search,
        holds,
        log.partitions,
        lambda: worker.partitions,
        registry,
        collector.let_go if collector else None,
    )
    indexer = None
    if parts.search:
        assert parts.keys, "they are opened where there is an index"
        indexer = Indexer(log, parts.history, parts.search, parts.keys, registry)

    def keep(rules: Retention) -> None:
        sweeper.keep(rules)
        if indexer:
            indexer.keep(rules)

    retention = KnownRetention(keep)

    async with AsyncExitStack() as stack:
        health_port = await stack.enter_async_context(
            internal.serving(app, settings, settings.materialize_health_port, parts.internal)
        )
        await stack.enter_async_context(
            running(
                follow(following, configure),
                worker.run(),
                auditor.run(),
                retention.follow(following),
                holds.follow(following, sweeper.look_again),
                sweeper.run(),
                *(_indexing(indexer, following, parts.verifier, retention) if indexer else ()),
                *((collector.run(),) if collector else ()),
                watch_loop(registry),
            )
        )
        this = instance(parts, "materialize", server_id, health_port, health_port)
        await stack.enter_async_context(registered(parts.discovery, this))
        yield this


def _indexing(
    indexer: Indexer, following: Following, verifier: Verifier, retention: KnownRetention
) -> tuple[Coroutine[Any, Any, None], ...]:
    """Return what keeps an index up with the log, and with who is erased."""
    erased = follow_revocations(following, verifier, indexer.look_for_erased)
    return _index(indexer, retention), indexer.forget_erased(), erased


async def _index(indexer: Indexer, retention: KnownRetention) -> None:
    """Index nothing until it is known what is too old."""
    await retention.informed.wait()
    await indexer.run()
