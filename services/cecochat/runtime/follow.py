"""Following the central documents while running: one that is not valid changes nothing, and a store
that does not answer stops nobody.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge

from cecochat.domain.configuration import Config, parse
from cecochat.domain.errors import InvalidSettings, Unavailable
from cecochat.ports.configuration import CONFIGURATION, Configuration, Document
from cecochat.runtime.changes import applying
from cecochat.runtime.tracing import OFF, Tracer

log = logging.getLogger(__name__)

RETRY_S = 1.0
PAST = 100  # versions that a store keeps at least

Parsed = TypeVar("Parsed")


class DocumentMetrics:
    """How a server follows a document."""

    def __init__(self, name: str, registry: CollectorRegistry) -> None:
        self.version = Gauge(
            f"cecochat_{name}_version", f"Version of the {name} in force.", registry=registry
        )
        self.followed = Gauge(
            f"cecochat_{name}_followed", "1 while the store of it answers.", registry=registry
        )
        self.refused = Counter(
            f"cecochat_{name}_refused", "Documents that are not valid.", registry=registry
        )


async def follow(
    configuration: Configuration,
    registry: CollectorRegistry,
    apply: Callable[[Config], None],
    tracer: Tracer = OFF,
) -> None:
    """Apply the configuration now and after each change, until cancelled; the last good one stays
    in force.
    """
    async with aclosing(valid(configuration, CONFIGURATION, parse, registry, tracer)) as versions:
        async for _, config in versions:
            apply(config)
            tracer.configure(config)
            logging.getLogger("cecochat").setLevel(config.log_level.upper())


async def valid(
    configuration: Configuration,
    name: str,
    parse_: Callable[[Any], Parsed],
    registry: CollectorRegistry,
    tracer: Tracer = OFF,
) -> AsyncGenerator[tuple[int, Parsed]]:
    """Version and value of the document now and after each change, those that are valid. One is in
    force when the next is asked for.
    """
    metrics = DocumentMetrics(name, registry)
    known = False
    async with aclosing(_versions(configuration, name, metrics.followed)) as documents:
        async for document in documents:
            try:
                good = document, parse_(document.value)
            except InvalidSettings as error:
                metrics.refused.inc()
                log.error("%s version %s is not followed: %s", name, document.version, error)
                if known or not (earlier := await _last_good(configuration, name, parse_)):
                    continue
                good = earlier
            in_force, value = good
            metrics.version.set(in_force.version)
            with applying(tracer, configuration, in_force, new=known):
                yield in_force.version, value
            known = True


async def _last_good(
    configuration: Configuration, name: str, parse_: Callable[[Any], Parsed]
) -> tuple[Document, Parsed] | None:
    """For a start while the newest version is not valid."""
    with suppress(Unavailable):
        for document in await configuration.past(name, PAST):
            with suppress(InvalidSettings):
                return document, parse_(document.value)
    return None


async def _versions(
    configuration: Configuration, name: str, followed: Gauge
) -> AsyncGenerator[Document]:
    """`watch`, again when it fails: what was seen stays, also where the store comes back without it
    or with an older version, until it is restored.
    """
    seen = -1
    lost = False
    while True:
        try:
            async with aclosing(configuration.watch(name)) as documents:
                async for document in documents:
                    if lost or document.version < seen:
                        _found_again(document, seen)
                    lost = False
                    followed.set(1)
                    if document.version > seen:
                        seen = document.version
                        yield document
        except Unavailable as error:
            if not lost:
                log.warning("%s cannot be followed, version %s stays: %s", name, seen, error)
            lost = True
            followed.set(0)
            await asyncio.sleep(RETRY_S)


def _found_again(document: Document, seen: int) -> None:
    name, version, *_ = document
    if version < seen:
        log.warning("%s came back as version %s, %s stays until restored", name, version, seen)
    else:
        log.info("%s is followed again, at version %s", name, version)
