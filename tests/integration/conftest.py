"""What tests of several servers run on."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.systems import Running, running
from tests.support.backends import Backends
from tests.support.pipes import TransportName
from tests.support.server import Server, started

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext

    from tests.support.chatpage import Person


@pytest.fixture(params=["embedded", "kafka"])
def kafka(request: pytest.FixtureRequest, backends: Backends) -> str:
    """Where Kafka is; empty: the embedded log. A test that takes it runs on both."""
    return backends.address("kafka") if request.param == "kafka" else ""


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Running]:
    """Every server in this process, on the embedded adapters."""
    async with running(tmp_path / "data") as started:
        yield started


@pytest.fixture
def over_each(transport: TransportName, monkeypatch: pytest.MonkeyPatch) -> TransportName:
    """A test that uses it runs over each transport."""
    monkeypatch.setattr(Running, "transport", transport)
    return transport


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """`cecochat up` as a person starts it."""
    async with started(Server(tmp_path / "up")) as server:
        yield server


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C ends a command, as in a terminal, also where these tests are a background job, which
    ignores it. (A `preexec_fn` would make subprocess fork, and gRPC abort the child now and then:
    grpc/grpc#43055.)
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# -- people at the chat page. Playwright takes a while to load


@pytest.fixture
async def windows(chromium: Browser) -> AsyncIterator[tuple[BrowserContext, BrowserContext]]:
    """Two browsers, each with storage of its own."""
    from tests.support import chatpage

    async with chatpage.window(chromium) as one, chatpage.window(chromium) as other:
        yield one, other


@pytest.fixture
async def alice(
    windows: tuple[BrowserContext, BrowserContext], server: Server
) -> AsyncIterator[Person]:
    from tests.support import chatpage

    person = await chatpage.at(windows[0], "alice", server.connect_url)
    yield person
    assert person.violations == []


@pytest.fixture
async def bob(
    windows: tuple[BrowserContext, BrowserContext], server: Server
) -> AsyncIterator[Person]:
    from tests.support import chatpage

    person = await chatpage.at(windows[1], "bob", server.connect_url)
    yield person
    assert person.violations == []
