"""Two materialize servers that write one index, on a log and a history that they share: who takes
over a partition goes on, and an index that is emptied under them is made again once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cecochat.adapters import build
from cecochat.adapters.postgres.settings import PostgresSettings
from cecochat.client import ChatError, Client, connect
from cecochat.ports.search import Search
from cecochat.servers.materialize.main import materialize
from tests.contract.openers.postgres import drop
from tests.integration.cluster import Cluster, cluster
from tests.support.backends import Backends
from tests.support.eventually import eventually

PEERS = 20


@dataclass
class Indexed:
    """A cluster, the client of Alice, and the index as nobody else has it open."""

    cluster: Cluster
    alice: Client
    search: Search
    stack: AsyncExitStack

    async def materialize(self, name: str) -> AsyncExitStack:
        """Start a materialize server with connections of its own; close what is returned."""
        parts = self.cluster.parts
        server = await self.stack.enter_async_context(AsyncExitStack())
        search = await server.enter_async_context(build.search(parts.settings))
        await server.enter_async_context(materialize(replace(parts, search=search), name))
        return server

    async def find(self, text: str, expected: list[int]) -> None:
        """Wait until Alice finds this, newest first, and nothing else."""

        async def is_found() -> bool:
            with suppress(ChatError):  # it is behind, or made again
                return [each.id for each in (await self.alice.search(text)).messages] == expected
            return False

        await eventually(is_found)


@pytest.fixture
async def indexed(tmp_path: Path, backends: Backends) -> AsyncIterator[Indexed]:
    address = backends.address("postgres")
    async with (
        cluster(tmp_path, postgres=address, materializes=False) as up,
        AsyncExitStack() as stack,
        opened(up) as alice,
    ):
        settings = up.parts.settings
        stack.push_async_callback(drop, PostgresSettings((address,), settings.namespace))
        search = await stack.enter_async_context(build.search(settings))
        assert search
        yield Indexed(up, alice, search, stack)


@asynccontextmanager
async def opened(up: Cluster) -> AsyncIterator[Client]:
    await up.start("messaging-1")
    await up.assign("messaging-1")
    url = await up.start_connect()
    async with connect(url, up.token("alice"), listen=False) as client:
        yield client


async def test_who_takes_over_goes_on(indexed: Indexed) -> None:
    first = await indexed.materialize("materialize-1")
    said = [await indexed.alice.send(f"peer{n}", f"pancake {n}") for n in range(PEERS)]
    await indexed.find("pancake", said[::-1])
    await indexed.materialize("materialize-2")
    await indexed.alice.delete("peer0", said[0])
    await indexed.find("pancake", said[:0:-1])
    await first.aclose()
    await indexed.alice.edit("peer1", said[1], "waffle")
    said.append(await indexed.alice.send("bob", "pancake"))
    await indexed.find("pancake", said[:1:-1])
    await indexed.find("waffle", [said[1]])


async def test_it_is_made_again_under_those_who_write(indexed: Indexed) -> None:
    for name in ("materialize-1", "materialize-2"):
        await indexed.materialize(name)
    said = [await indexed.alice.send(f"peer{n}", f"pancake {n}") for n in range(PEERS)]
    await indexed.find("pancake", said[::-1])
    for n in range(3):
        await indexed.search.clear()
        said.append(await indexed.alice.send("bob", f"pancake and clear {n}"))
        await asyncio.sleep(0)
        said.append(await indexed.alice.send(f"peer{n}", f"pancake and more {n}"))
    await indexed.find("pancake", said[::-1])
    assert len(await indexed.search.progress(await indexed.cluster.parts.backplane.log_id())) == 4
