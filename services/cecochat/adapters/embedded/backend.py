"""The embedded backend: SQLite in the data folder, and everything else within this process."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from cecochat.ports.backplane import Backplane
from cecochat.ports.closing import closing
from cecochat.ports.configuration import Configuration
from cecochat.ports.deployment import Deployment
from cecochat.ports.discovery import Discovery
from cecochat.ports.files import Files
from cecochat.ports.history import History
from cecochat.ports.keys import Keys
from cecochat.ports.moderation import Moderation
from cecochat.ports.search import Search
from cecochat.ports.signals import Signals
from cecochat.ports.silences import Silences
from cecochat.ports.trimming import trimming
from cecochat.settings.backends import Backend, Clock, Finding
from cecochat.settings.settings import Settings

TRIM_EVERY_S = 10.0


@asynccontextmanager
async def backplane(settings: Settings, *, clock: Clock = time.time) -> AsyncGenerator[Backplane]:
    """Open the log in SQLite."""
    from cecochat.adapters.embedded.backplane import EmbeddedBackplane

    opened = await EmbeddedBackplane.open(
        settings.data_dir,
        partition_count=settings.partitions or None,
        retention_ms=settings.retention_ms,
        retention_bytes=settings.retention_bytes,
        clock=clock,
    )
    async with closing(opened), trimming(opened, TRIM_EVERY_S):
        yield opened


@asynccontextmanager
async def signals(settings: Settings) -> AsyncGenerator[Signals]:
    """Open the signals of this process."""
    from cecochat.adapters.embedded.signals import EmbeddedSignals

    yield EmbeddedSignals()


@asynccontextmanager
async def history(settings: Settings) -> AsyncGenerator[History]:
    """Open the history in SQLite."""
    from cecochat.adapters.embedded.history import EmbeddedHistory

    async with closing(await EmbeddedHistory.open(settings.data_dir)) as opened:
        yield opened


@asynccontextmanager
async def search(settings: Settings) -> AsyncGenerator[Search]:
    """Open the index of words in SQLite."""
    from cecochat.adapters.embedded.search import EmbeddedSearch

    async with closing(await EmbeddedSearch.open(settings.data_dir)) as opened:
        yield opened


@asynccontextmanager
async def files(settings: Settings) -> AsyncGenerator[Files]:
    """Open the folder of attachments."""
    from cecochat.adapters.embedded.files import EmbeddedFiles

    async with closing(await EmbeddedFiles.open(settings.data_dir)) as opened:
        yield opened


@asynccontextmanager
async def keys(settings: Settings) -> AsyncGenerator[Keys]:
    """Open the keys of users in SQLite."""
    from cecochat.adapters.embedded.keys import EmbeddedKeys

    async with closing(await EmbeddedKeys.open(settings.data_dir)) as opened:
        yield opened


@asynccontextmanager
async def moderation(settings: Settings) -> AsyncGenerator[Moderation]:
    """Open reports, the audit log and blocks in SQLite."""
    from cecochat.adapters.embedded.moderation import EmbeddedModeration

    async with closing(await EmbeddedModeration.open(settings.data_dir)) as opened:
        yield opened


@asynccontextmanager
async def silences(settings: Settings) -> AsyncGenerator[Silences]:
    """Open what was told of users who are away, in SQLite."""
    from cecochat.adapters.embedded.silences import EmbeddedSilences

    async with closing(await EmbeddedSilences.open(settings.data_dir)) as opened:
        yield opened


@asynccontextmanager
async def configuration(settings: Settings) -> AsyncGenerator[Configuration]:
    """Open the configuration in SQLite."""
    from cecochat.adapters.embedded.configuration import EmbeddedConfiguration

    async with closing(await EmbeddedConfiguration.open(settings.data_dir)) as opened:
        yield opened


@asynccontextmanager
async def discovery(settings: Settings) -> AsyncGenerator[Discovery]:
    """Open a registry of the servers of this process."""
    from cecochat.adapters.embedded.discovery import EmbeddedDiscovery

    async with closing(EmbeddedDiscovery()) as registry:
        yield registry


@asynccontextmanager
async def deployment(settings: Settings) -> AsyncGenerator[Deployment]:
    """Open the deployment that has one server of each set in this process."""
    from cecochat.adapters.embedded.deployment import EmbeddedDeployment

    yield EmbeddedDeployment()


def examine(settings: Settings) -> Sequence[Finding]:
    """Check whether SQLite is safe, fast and intact in the data folder, and has no holes."""
    from cecochat.adapters.embedded import checks

    data = settings.data_dir
    all_checks = (
        checks.file_system,
        checks.free_space,
        checks.fsync_latency,
        checks.databases,
        checks.holes,
    )
    return [check(data) for check in all_checks]


BACKEND: Final = Backend(
    name="embedded",
    ports={
        "backplane": backplane,
        "signals": signals,
        "history": history,
        "search": search,
        "files": files,
        "keys": keys,
        "moderation": moderation,
        "silences": silences,
        "configuration": configuration,
        "discovery": discovery,
        "deployment": deployment,
    },
    examine=examine,
)
