"""One fixture a port, on every adapter whose folder declares that port; see `openers`."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from cecochat.ports.backplane import Backplane
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
from tests.contract.openers import Place, names, opener
from tests.support.backends import Backends

OpenBackplane = Callable[..., Awaitable[Backplane]]
OpenHistory = Callable[[], Awaitable[History]]
OpenSearch = Callable[[], Awaitable[Search]]
OpenFiles = Callable[[], Awaitable[Files]]
OpenKeys = Callable[[], Awaitable[Keys]]
OpenModeration = Callable[[], Awaitable[Moderation]]
OpenSilences = Callable[[], Awaitable[Silences]]
OpenConfiguration = Callable[[], Awaitable[Configuration]]
OpenDiscovery = Callable[[], Awaitable[Discovery]]


@pytest.fixture
async def stack() -> AsyncGenerator[AsyncExitStack]:
    """Closes what a test has opened."""
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture
def place(tmp_path: Path, backends: Backends) -> Place:
    """Where nothing is yet."""
    return Place(tmp_path, f"test_{uuid.uuid4().hex[:12]}", backends)


@pytest.fixture(params=names("backplane"))
def open_backplane(
    request: pytest.FixtureRequest, place: Place, stack: AsyncExitStack
) -> OpenBackplane:
    """Opens the same log, of `PARTITIONS` partitions, each time; the one before must be closed.
    It takes `retention_ms` and `clock`.
    """
    return partial(opener(request.param, "backplane"), place, stack)


@pytest.fixture
async def backplane(open_backplane: OpenBackplane) -> Backplane:
    """An empty log."""
    return await open_backplane()


@pytest.fixture(params=names("signals"))
async def signals(request: pytest.FixtureRequest, place: Place, stack: AsyncExitStack) -> Signals:
    """A topic of signals without any yet."""
    opened: Signals = await opener(request.param, "signals")(place, stack)
    return opened


@pytest.fixture(params=names("history"))
def open_history(
    request: pytest.FixtureRequest, place: Place, stack: AsyncExitStack
) -> OpenHistory:
    """Opens the same history each time; the one before must be closed."""
    return partial(opener(request.param, "history"), place, stack)


@pytest.fixture
async def history(open_history: OpenHistory) -> History:
    """An empty history."""
    return await open_history()


@pytest.fixture(params=names("search"))
def open_search(request: pytest.FixtureRequest, place: Place, stack: AsyncExitStack) -> OpenSearch:
    """Opens the same index each time; the one before must be closed."""
    return partial(opener(request.param, "search"), place, stack)


@pytest.fixture
async def search(open_search: OpenSearch) -> Search:
    """An empty index."""
    return await open_search()


@pytest.fixture(params=names("files"))
def open_files(request: pytest.FixtureRequest, place: Place, stack: AsyncExitStack) -> OpenFiles:
    """Opens the same store each time; several may be open at once."""
    return partial(opener(request.param, "files"), place, stack)


@pytest.fixture
async def files(open_files: OpenFiles) -> Files:
    """A store without any file."""
    return await open_files()


@pytest.fixture(params=names("keys"))
def open_keys(request: pytest.FixtureRequest, place: Place, stack: AsyncExitStack) -> OpenKeys:
    """Opens the same keys each time; several may be open at once."""
    return partial(opener(request.param, "keys"), place, stack)


@pytest.fixture
async def keys(open_keys: OpenKeys) -> Keys:
    """No keys yet."""
    return await open_keys()


@pytest.fixture(params=names("moderation"))
def open_moderation(
    request: pytest.FixtureRequest, place: Place, stack: AsyncExitStack
) -> OpenModeration:
    """Opens the same store each time; several may be open at once."""
    return partial(opener(request.param, "moderation"), place, stack)


@pytest.fixture
async def moderation(open_moderation: OpenModeration) -> Moderation:
    """A store without anything yet."""
    return await open_moderation()


@pytest.fixture(params=names("silences"))
def open_silences(
    request: pytest.FixtureRequest, place: Place, stack: AsyncExitStack
) -> OpenSilences:
    """Opens the same store each time; several may be open at once."""
    return partial(opener(request.param, "silences"), place, stack)


@pytest.fixture
async def silences(open_silences: OpenSilences) -> Silences:
    """An empty store."""
    return await open_silences()


@pytest.fixture(params=names("configuration"))
def open_configuration(
    request: pytest.FixtureRequest, place: Place, stack: AsyncExitStack
) -> OpenConfiguration:
    """Opens the same configuration each time; several may be open at once."""
    return partial(opener(request.param, "configuration"), place, stack)


@pytest.fixture
async def configuration(open_configuration: OpenConfiguration) -> Configuration:
    """An empty configuration."""
    return await open_configuration()


@pytest.fixture(params=names("discovery"))
def open_discovery(
    request: pytest.FixtureRequest, place: Place, stack: AsyncExitStack
) -> OpenDiscovery:
    """Opens the same registry each time; several may be open at once, where it is shared."""
    return partial(opener(request.param, "discovery"), place, stack)


@pytest.fixture
async def discovery(open_discovery: OpenDiscovery) -> Discovery:
    """An empty registry."""
    return await open_discovery()


@pytest.fixture(params=names("deployment"))
async def deployment(
    request: pytest.FixtureRequest, place: Place, stack: AsyncExitStack
) -> Deployment:
    """A deployment that runs one messaging server, or what stands in for it."""
    made: Deployment = await opener(request.param, "deployment")(place, stack)
    return made
