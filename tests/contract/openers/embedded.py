"""The embedded adapters, in the test's own folder."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.adapters.embedded.configuration import EmbeddedConfiguration
from cecochat.adapters.embedded.deployment import EmbeddedDeployment
from cecochat.adapters.embedded.discovery import EmbeddedDiscovery
from cecochat.adapters.embedded.history import EmbeddedHistory
from cecochat.ports.backplane import Backplane
from cecochat.ports.configuration import Configuration
from cecochat.ports.deployment import Deployment
from cecochat.ports.discovery import Discovery
from cecochat.ports.history import History
from tests.contract.openers import PARTITIONS, Place


async def backplane(place: Place, stack: AsyncExitStack, **changes: Any) -> Backplane:
    log = await EmbeddedBackplane.open(_folder(place, "log"), partition_count=PARTITIONS, **changes)
    stack.push_async_callback(log.close)
    return log


async def history(place: Place, stack: AsyncExitStack) -> History:
    opened = await EmbeddedHistory.open(_folder(place, "history"))
    stack.push_async_callback(opened.close)
    return opened


async def configuration(place: Place, stack: AsyncExitStack) -> Configuration:
    opened = await EmbeddedConfiguration.open(_folder(place, "configuration"))
    stack.push_async_callback(opened.close)
    return opened


async def discovery(place: Place, stack: AsyncExitStack) -> Discovery:
    registry = EmbeddedDiscovery()
    stack.push_async_callback(registry.close)
    return registry


async def deployment(place: Place, stack: AsyncExitStack) -> Deployment:
    return EmbeddedDeployment()


def _folder(place: Place, name: str) -> Path:
    return place.folder / name
