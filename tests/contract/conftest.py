"""One fixture a port: how its adapters are opened, and opened again on what they have stored.

An adapter joins by a line in the list of its port. One that needs a server asks `backends` for it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

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

BACKPLANES = ["embedded"]
HISTORIES = ["embedded"]
CONFIGURATIONS = ["embedded"]
DISCOVERIES = ["embedded"]
DEPLOYMENTS = ["embedded"]
PARTITIONS = 4

OpenBackplane = Callable[[], Awaitable[Backplane]]
OpenHistory = Callable[[], Awaitable[History]]
OpenConfiguration = Callable[[], Awaitable[Configuration]]


@pytest.fixture
async def stack() -> AsyncGenerator[AsyncExitStack]:
    """Closes what a test has opened."""
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture(params=BACKPLANES)
def open_backplane(tmp_path: Path, stack: AsyncExitStack) -> OpenBackplane:
    """Opens the same log, of `PARTITIONS` partitions, each time; the one before must be closed."""

    async def embedded() -> Backplane:
        log = await EmbeddedBackplane.open(tmp_path / "log", partition_count=PARTITIONS)
        stack.push_async_callback(log.close)
        return log

    return embedded


@pytest.fixture
async def backplane(open_backplane: OpenBackplane) -> Backplane:
    """An empty log."""
    return await open_backplane()


@pytest.fixture(params=HISTORIES)
def open_history(tmp_path: Path, stack: AsyncExitStack) -> OpenHistory:
    """Opens the same history each time; the one before must be closed."""

    async def embedded() -> History:
        history = await EmbeddedHistory.open(tmp_path / "history")
        stack.push_async_callback(history.close)
        return history

    return embedded


@pytest.fixture
async def history(open_history: OpenHistory) -> History:
    """An empty history."""
    return await open_history()


@pytest.fixture(params=CONFIGURATIONS)
def open_configuration(tmp_path: Path, stack: AsyncExitStack) -> OpenConfiguration:
    """Opens the same configuration each time; several may be open at once."""

    async def embedded() -> Configuration:
        configuration = await EmbeddedConfiguration.open(tmp_path / "configuration")
        stack.push_async_callback(configuration.close)
        return configuration

    return embedded


@pytest.fixture
async def configuration(open_configuration: OpenConfiguration) -> Configuration:
    """An empty configuration."""
    return await open_configuration()


@pytest.fixture(params=DISCOVERIES)
async def discovery(stack: AsyncExitStack) -> Discovery:
    """An empty registry."""
    registry = EmbeddedDiscovery()
    stack.push_async_callback(registry.close)
    return registry


@pytest.fixture(params=DEPLOYMENTS)
def deployment() -> Deployment:
    """A deployment that runs one server of each set."""
    return EmbeddedDeployment()
