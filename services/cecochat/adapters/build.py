"""Chooses the adapters; nothing else imports them. Only the embedded ones are built so far."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.adapters.embedded.configuration import EmbeddedConfiguration
from cecochat.adapters.embedded.deployment import EmbeddedDeployment
from cecochat.adapters.embedded.discovery import EmbeddedDiscovery
from cecochat.adapters.embedded.history import EmbeddedHistory
from cecochat.domain.errors import Unavailable
from cecochat.ports.backplane import Backplane
from cecochat.ports.configuration import Configuration
from cecochat.ports.deployment import Deployment
from cecochat.ports.discovery import Discovery
from cecochat.ports.history import History

log = logging.getLogger(__name__)

TRIM_EVERY_S = 10.0


@dataclass(frozen=True)
class AdapterSettings:
    """Where the data lies and how much of the log stays; None: the default, or for ever."""

    data_dir: Path
    partition_count: int | None = None
    retention_ms: int | None = None
    retention_bytes: int | None = None


@asynccontextmanager
async def backplane(settings: AdapterSettings) -> AsyncGenerator[Backplane]:
    """The log, and its retention as a task; a failure of that cancels the body."""
    opened = await EmbeddedBackplane.open(
        settings.data_dir,
        partition_count=settings.partition_count,
        retention_ms=settings.retention_ms,
        retention_bytes=settings.retention_bytes,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(opened.close)
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        trimming = tasks.create_task(_trim(opened))
        stack.callback(trimming.cancel)
        yield opened


async def _trim(embedded: EmbeddedBackplane) -> None:
    while True:
        await asyncio.sleep(TRIM_EVERY_S)
        try:
            await embedded.trim()
        except Unavailable as error:
            log.warning("retention waits for the log: %s", error)


@asynccontextmanager
async def history(settings: AdapterSettings) -> AsyncGenerator[History]:
    """The history database."""
    opened = await EmbeddedHistory.open(settings.data_dir)
    try:
        yield opened
    finally:
        await opened.close()


@asynccontextmanager
async def configuration(settings: AdapterSettings) -> AsyncGenerator[Configuration]:
    """The central configuration."""
    opened = await EmbeddedConfiguration.open(settings.data_dir)
    try:
        yield opened
    finally:
        await opened.close()


@asynccontextmanager
async def discovery() -> AsyncGenerator[Discovery]:
    """The registry of live servers."""
    opened = EmbeddedDiscovery()
    try:
        yield opened
    finally:
        await opened.close()


def deployment() -> Deployment:
    """What counts and scales the server sets."""
    return EmbeddedDeployment()
