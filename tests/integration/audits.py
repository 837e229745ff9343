"""A cluster in this process for audits: on SQLite alone, or on Kafka and Cassandra; with people who
talk, and somebody who harms the history behind its back.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from cecochat.adapters.cassandra.settings import CassandraSettings
from cecochat.domain.log.ids import UserId, dialog
from cecochat.ports.backplane import MATERIALIZE_GROUP, MESSAGES
from cecochat.ports.configuration import CONFIGURATION
from cecochat.servers.materialize.main import materialize
from tests.contract.openers.cassandra import drop_keyspace
from tests.integration import streams
from tests.integration.cluster import PARTITIONS, Cluster, cluster, user_on
from tests.integration.systems import QUICK, write_document
from tests.support import operators
from tests.support.damage import Damage, SqliteDamage, to_cassandra
from tests.support.eventually import eventually

ALICE, BOB = user_on(0), user_on(1)
CHAT = str(dialog(UserId(ALICE), UserId(BOB)))


@dataclass
class Talk:
    """What was said so far: message ids of Alice, in order."""

    ids: list[int] = field(default_factory=list)
    read_up_to: int = 0  # what Bob has said that he has read


@asynccontextmanager
async def audited(
    folder: Path, kafka: str, cassandra: str
) -> AsyncIterator[tuple[Cluster, Damage]]:
    """Two messaging servers; nobody materializes yet. `cassandra` empty: SQLite."""
    async with AsyncExitStack() as afterwards, AsyncExitStack() as stack:
        servers = await stack.enter_async_context(
            cluster(folder, kafka, materializes=False, cassandra=cassandra)
        )
        keys = {**QUICK, "audit.rate": 100_000}
        await write_document(servers.parts.configuration, CONFIGURATION, keys)
        await servers.assign("one", "two")
        for server in ("one", "two"):
            await servers.start(server)
        if not cassandra:
            yield servers, SqliteDamage(folder)
            return
        namespace = servers.parts.settings.namespace
        yield servers, await stack.enter_async_context(to_cassandra(cassandra, namespace))
        afterwards.push_async_callback(
            drop_keyspace, CassandraSettings((cassandra,), namespace=namespace)
        )


@asynccontextmanager
async def talking(
    servers: Cluster, talk: Talk, owners: tuple[str, str] = ("one", "two")
) -> AsyncIterator[None]:
    """Alice writes to Bob as fast as it goes, and Bob reads all of it. `owners` of their
    partitions.
    """
    async with (
        servers.stream(owners[0], ALICE) as alice,
        servers.stream(owners[1], BOB) as bob,
        asyncio.TaskGroup() as group,
    ):
        tasks = [group.create_task(_write(alice, talk)), group.create_task(_read(bob, talk))]
        yield
        for task in tasks:
            task.cancel()


async def _write(alice: streams.Stream, talk: Talk) -> None:
    for number in itertools.count():
        first = number * 10
        names = [f"{len(talk.ids)}.{n}" for n in range(first, first + 10)]
        await alice.send(*(streams.message(name, CHAT) for name in names))
        acks = [(await alice.until("ack")).ack for _ in names]
        talk.ids += [ack.message_id for ack in acks]


async def _read(bob: streams.Stream, talk: Talk) -> None:
    for number in itertools.count():
        seen = (await bob.until("delivered")).delivered.event
        if seen.HasField("message"):
            name = f"r{seen.id}.{number}"
            await bob.send(streams.receipt(name, CHAT, delivered=seen.id, read=seen.id))
            await bob.until("ack")
            talk.read_up_to = seen.id


class Asking:
    """An operator who asks one materialize server."""

    def __init__(self, url: str, client: httpx.AsyncClient) -> None:
        self._url = url
        self._client = client

    async def state(self) -> dict[str, Any]:
        return dict((await self._client.get(f"{self._url}/audit")).raise_for_status().json())

    async def missing(self) -> list[dict[str, Any]]:
        """What it knows to be missing."""
        return list((await self.state())["missing"])

    async def compared(self, partition: int, above: int) -> bool:
        """Whether it has compared what stands above that offset."""
        known = (await self.state())["complete"].get(str(partition))
        return bool(known and known["offset"] > above)

    async def metric(self, name: str, partition: int) -> float | None:
        text = (await self._client.get(f"{self._url}/metrics")).text
        begin = f'{name}{{partition="{partition}"}} '
        lines = [line.removeprefix(begin) for line in text.splitlines() if line.startswith(begin)]
        return float(lines[0]) if lines else None

    async def step(self, partition: int, where: dict[str, int]) -> httpx.Response:
        return await self._client.post(f"{self._url}/audit/{partition}", params=where)

    async def audit(self, *, repair: bool = False, since_ms: int = 0) -> list[dict[str, Any]]:
        """All partitions from the beginning to what is whole; what is missing."""
        found: list[dict[str, Any]] = []
        for partition in range(PARTITIONS):
            where: dict[str, int] = {"since": since_ms, "repair": int(repair)}
            while True:
                step = (await self.step(partition, where)).raise_for_status().json()
                found += step["missing"]
                if step["up_to"] >= step["whole"]:
                    break
                where["after"] = step["up_to"]
        return found


@asynccontextmanager
async def comparing(servers: Cluster, name: str) -> AsyncIterator[Asking]:
    """One materialize server more."""
    async with (
        materialize(servers.parts, name) as server,
        operators.client() as client,
    ):
        yield Asking(server.health_url, client)


@asynccontextmanager
async def compared_while_talking(servers: Cluster, talk: Talk) -> AsyncIterator[Asking]:
    """It has compared some of what was said, and people talk on."""
    async with comparing(servers, "m1") as operator, talking(servers, talk):
        await eventually(lambda: len(talk.ids) > 50)
        await eventually(lambda: operator.compared(0, 30), within_s=60)
        yield operator


async def ends(servers: Cluster) -> list[int]:
    log = servers.parts.backplane
    return [(await log.bounds(MESSAGES, partition))[1] for partition in range(PARTITIONS)]


async def is_whole(servers: Cluster) -> bool:
    """Materialize says that it has all that is in the log."""
    log = servers.parts.backplane
    said = [await log.committed(MATERIALIZE_GROUP, MESSAGES, p) for p in range(PARTITIONS)]
    offsets = [place.offset if place else 0 for place in said]
    return offsets == await ends(servers)


async def whole_is_compared(servers: Cluster, operator: Asking) -> bool:
    """Up to the end of the log."""
    known = (await operator.state())["complete"]
    seen: list[int] = [each["offset"] + 1 for each in known.values()]
    return sorted(seen) == sorted(await ends(servers))
