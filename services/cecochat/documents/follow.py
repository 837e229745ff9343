"""Follows the central documents while a server runs.

A document that is not valid changes nothing, and a store that does not answer stops nobody.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge

from cecochat.documents.changes import applying
from cecochat.documents.remembered import Memory
from cecochat.domain.cluster.configuration import Config
from cecochat.domain.cluster.values import parse
from cecochat.domain.cluster.versions import Rank
from cecochat.domain.errors import InvalidSettings, Unavailable
from cecochat.ports.configuration import CONFIGURATION, Configuration, Document
from cecochat.telemetry.tracing import OFF, Tracer

log = logging.getLogger(__name__)

RETRY_S = 1.0
PAST = 100  # how many versions a store keeps at least

Parsed = TypeVar("Parsed")


class DocumentMetrics:
    """Metrics about how a server follows a document."""

    def __init__(self, name: str, registry: CollectorRegistry) -> None:
        self.version = Gauge(
            f"cecochat_{name}_version", f"Version of the {name} in force.", registry=registry
        )
        self.followed = Gauge(
            f"cecochat_{name}_followed", "1 while its store answers.", registry=registry
        )
        self.went_back = Gauge(
            f"cecochat_{name}_went_back",
            "1 while the store holds an earlier version than the one in force.",
            registry=registry,
        )
        self.refused = Counter(
            f"cecochat_{name}_refused", "Documents that were not valid.", registry=registry
        )


@dataclass(frozen=True, slots=True)
class Following:
    """How a server follows central documents: from where, with which metrics and traces.

    `memory` keeps what is in force.
    """

    configuration: Configuration
    registry: CollectorRegistry
    tracer: Tracer = OFF
    memory: Memory = field(default_factory=Memory)


async def follow(following: Following, apply: Callable[[Config], None]) -> None:
    """Apply the configuration now and after each change, until cancelled.

    If a change is not valid, the last good configuration stays in force.
    """
    async with aclosing(valid(following, CONFIGURATION, parse)) as versions:
        async for _, config in versions:
            apply(config)
            following.tracer.configure(config)
            logging.getLogger("cecochat").setLevel(config.log_level.upper())


async def follow_document(
    following: Following,
    name: str,
    parse_: Callable[[Any], Parsed],
    apply: Callable[[Parsed], None],
) -> None:
    """Apply a document now and after each change, until cancelled. Of what is not valid, see
    `valid`.
    """
    async with aclosing(valid(following, name, parse_)) as versions:
        async for _, value in versions:
            apply(value)


async def valid(
    following: Following, name: str, parse_: Callable[[Any], Parsed]
) -> AsyncGenerator[tuple[int, Parsed]]:
    """Yield version and value of a document, now and after each change.

    It skips what is not valid or not newer than what is in force. A version is in force once the
    next one is asked for.
    """
    configuration = following.configuration
    metrics = DocumentMetrics(name, following.registry)
    in_force: Document | None = None
    async with aclosing(_versions(configuration, name, metrics.followed)) as documents:
        async for document in documents:
            if in_force and document.rank <= in_force.rank:
                _judge_earlier(document, in_force, metrics)
                continue
            metrics.went_back.set(0)
            try:
                good = document, parse_(document.value)
            except InvalidSettings as error:
                metrics.refused.inc()
                log.error("%s version %s is not followed: %s", name, document.version, error)
                if in_force or not (earlier := await _earlier(configuration, name, parse_)):
                    continue
                good = earlier
            new = in_force is not None
            in_force, value = good
            following.memory.keep(in_force)
            metrics.version.set(in_force.version)
            with applying(following.tracer, configuration, in_force, new=new):
                yield in_force.version, value


def _judge_earlier(document: Document, in_force: Document, metrics: DocumentMetrics) -> None:
    """Note whether the store holds what is in force, or has lost it."""
    lost = document.rank < in_force.rank
    metrics.went_back.set(lost)
    if lost:
        log.error(
            "the store of the %s has gone back to %s: %s stays in force, and control restores it",
            document.name,
            document.rank,
            in_force.rank,
        )


async def _earlier(
    configuration: Configuration, name: str, parse_: Callable[[Any], Parsed]
) -> tuple[Document, Parsed] | None:
    """Return an earlier valid version, for a server that starts while the newest is not valid."""
    with suppress(Unavailable):
        return await last_good(configuration, name, parse_)
    return None


async def last_good(
    configuration: Configuration, name: str, parse_: Callable[[Any], Parsed]
) -> tuple[Document, Parsed] | None:
    """Return the newest valid version that the store keeps. Raises `Unavailable`."""
    for document in await configuration.past(name, PAST):
        with suppress(InvalidSettings):
            return document, parse_(document.value)
    return None


async def _versions(
    configuration: Configuration, name: str, followed: Gauge
) -> AsyncGenerator[Document]:
    """Yield each new version in the store, and watch it again after a failure."""
    seen: Rank | None = None
    lost = False
    while True:
        try:
            async with aclosing(configuration.watch(name)) as documents:
                async for document in documents:
                    if lost:
                        log.info("%s is followed again, at version %s", name, document.version)
                    lost = False
                    followed.set(1)
                    if document.rank != seen:
                        seen = document.rank
                        yield document
        except Unavailable as error:
            if not lost:
                log.warning("%s cannot be followed, and stays as it is: %s", name, error)
            lost = True
            followed.set(0)
            await asyncio.sleep(RETRY_S)
