"""What control servers act on: the embedded adapters, with messaging servers that do as the test
says.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import CollectorRegistry

from cecochat.domain.errors import Unavailable
from cecochat.internal.client import InternalClient
from cecochat.internal.routes import InternalRoutes
from cecochat.internal.v1.internal_pb2 import OwnedPartition
from cecochat.ports.configuration import ASSIGNMENT, Document
from cecochat.ports.discovery import Instance
from cecochat.run import system
from cecochat.runtime import http, internal
from cecochat.runtime.parts import Parts
from tests.integration.systems import settings
from tests.support import operators
from tests.support.eventually import eventually

PARTITIONS = 16
WITHIN_S = 30.0


@dataclass
class FakeMessaging:
    """Says over HTTP that it owns what is assigned to it, as far as `takes_over` lets it."""

    server_id: str
    parts: Parts
    takes_over: asyncio.Event = field(default_factory=asyncio.Event)
    owned: set[int] = field(default_factory=set)
    asked: int = 0
    instance: Instance | None = None
    life: AsyncExitStack = field(default_factory=AsyncExitStack)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        app = internal.app(
            operators.guard(), "messaging", self.server_id, CollectorRegistry(), lambda: None
        )
        InternalRoutes(app, self.server_id).partitions(self._answer)
        async with http.serving(app, "127.0.0.1", 0) as port, asyncio.TaskGroup() as group:
            url = f"http://127.0.0.1:{port}"
            self.instance = Instance("messaging", self.server_id, f"127.0.0.1:{port}", url, "1")
            following = group.create_task(self._follow())
            yield
            following.cancel()

    def _answer(self) -> list[OwnedPartition]:
        self.asked += 1
        return [OwnedPartition(partition=each) for each in self.owned]

    async def _follow(self) -> None:
        async with aclosing(self.parts.configuration.watch(ASSIGNMENT)) as documents:
            async for document in documents:
                await self.takes_over.wait()
                with suppress(ValueError):  # what is not valid is not followed
                    mine = {int(p) for p, s in document.value.items() if s == self.server_id}
                    self.owned = mine


@dataclass
class World:
    """The parts, and the fake messaging servers."""

    parts: Parts
    stack: AsyncExitStack
    servers: dict[str, FakeMessaging] = field(default_factory=dict)

    async def join(self, *server_ids: str, slow: bool = False) -> None:
        """All at once. `slow`: they take nothing over until `takes_over` is set."""
        joining = [FakeMessaging(server_id, self.parts) for server_id in server_ids]
        for server in joining:
            self.servers[server.server_id] = server
            if not slow:
                server.takes_over.set()
            await self.stack.enter_async_context(server.life)
            await server.life.enter_async_context(server.running())
        for server in joining:
            assert server.instance
            await self.parts.discovery.register(server.instance)

    async def vanish(self, server_id: str) -> None:
        instance = self.servers[server_id].instance
        assert instance
        await self.parts.discovery.deregister(instance)

    async def die(self, server_id: str) -> None:
        """Without a word to discovery."""
        await self.servers[server_id].life.aclose()

    async def document(self) -> Document:
        return await self.parts.configuration.get(ASSIGNMENT)

    async def counts(self) -> dict[str, int]:
        return dict(Counter((await self.document()).value.values()))

    async def becomes(self, **counts: int) -> None:
        """So many partitions each, and nobody else has any."""

        async def holds() -> bool:
            return await self.counts() == counts

        await eventually(holds, WITHIN_S)

    async def past(self) -> list[Document]:
        """Versions of the assignment, oldest first."""
        return (await self.parts.configuration.past(ASSIGNMENT, 100))[::-1]

    def lose_documents(self, name: str, above: int = 0) -> None:
        """As a store that comes back empty, or old: no version above that one."""
        file = self.parts.settings.data_dir / "configuration.db"
        with sqlite3.connect(file, timeout=30) as store:
            store.execute("DELETE FROM versions WHERE name = ? AND version > ?", (name, above))
        store.close()


@asynccontextmanager
async def world(folder: Path, partitions: int = PARTITIONS) -> AsyncIterator[World]:
    chosen = settings(folder, partitions=partitions, control_port=0)
    async with system.opened(chosen) as parts, AsyncExitStack() as stack:
        yield World(parts, stack)


async def get(instance: Instance, path: str) -> Any:
    async with operators.client() as client:
        answer = await client.get(f"{instance.health_url}{path}")
        return answer.text if path == "/metrics" else answer.json()


async def metric(instance: Instance, line: str) -> float:
    """Its value; `line` is its name with labels."""
    text: str = await get(instance, "/metrics")
    values = [each.removeprefix(line) for each in text.splitlines() if each.startswith(f"{line} ")]
    assert len(values) == 1, f"{line} in\n{text}"
    return float(values[0])


def moved(before: Mapping[str, str], after: Mapping[str, str]) -> int:
    return sum(before.get(p) != server for p, server in after.items())


async def settled(instance: Instance, count: int) -> bool:
    return await metric(instance, 'cecochat_control_partitions{state="settled"}') == count


def unavailable(asked: Counter[str], method: str) -> Any:
    async def call(*_: object, **__: object) -> None:
        asked[method] += 1
        raise Unavailable("the test says so")

    return call


def elsewhere(up: World, name: str) -> Parts:
    """For a control server on a machine where none was before."""
    folder = up.parts.settings.data_dir / name
    return replace(up.parts, settings=replace(up.parts.settings, data_dir=folder))


async def owns(client: httpx.AsyncClient, instance: Instance, count: int) -> bool:
    return len(await InternalClient(client).owned_by(instance) or ()) == count
