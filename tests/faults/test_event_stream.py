"""A stream of events while the server is killed and the consumer dies: with its last cursor it
misses nothing, gets the order of each chat, and repeats have the same id.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from cecochat.auth.minting import mint_for_service
from tests.support.crowd import Crowd
from tests.support.eventually import eventually
from tests.support.hooks import all_ids, message_ids, misordered
from tests.support.processes import Processes, processes
from tests.support.results import write
from tests.support.server import Server, running
from tests.support.traffic import flowing, ring

USERS = 20
RATE_PER_S = 100
COUNTS = {"control": 1, "messaging": 2, "materialize": 1, "history": 1, "connect": 1, "hooks": 2}


@dataclass
class Consumer:
    """Keeps what it is told together with the cursor, as in one transaction. What came behind its
    last cursor comes again.
    """

    server: Server | Processes
    kept: list[dict[str, Any]] = field(default_factory=list)
    cursor: str = ""
    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)  # by id, as each came first
    repeats: int = 0

    async def run(self) -> None:
        while True:
            try:
                await self.read()
            except (httpx.HTTPError, json.JSONDecodeError):
                await asyncio.sleep(0.1)

    async def read(self) -> None:
        token = mint_for_service(self.server.secret_file.read_bytes(), "consumer", ["read"], 600)
        headers = {"authorization": f"Bearer {token}"}
        url, body = f"{self.server.connect_url}/v1/events", {"after": self.cursor}
        async with (
            httpx.AsyncClient(trust_env=False, timeout=15, headers=headers) as client,
            client.stream("POST", url, json=body) as response,
        ):
            response.raise_for_status()
            async for line in response.aiter_lines():
                self.take(json.loads(line))

    @property
    def told(self) -> dict[str, set[int]]:
        """The messages of each chat."""
        return {chat: set(ids) for chat, ids in message_ids(self.bodies.values()).items()}

    def take(self, line: dict[str, Any]) -> None:
        if line["type"] == "cursor":
            self.cursor = line["cursor"]
            return
        known = self.bodies.get(line["id"])
        assert known in (None, line), f"{line['id']} came again as something else"
        self.repeats += known is not None
        self.bodies.setdefault(line["id"], line)


@pytest.mark.parametrize(
    ("kills", "partitions"),
    [
        pytest.param(3, 4, marks=pytest.mark.timeout(420)),
        pytest.param(20, 12, marks=[pytest.mark.slow, pytest.mark.timeout(1_800)]),
    ],
)
async def test_a_consumer_misses_nothing(
    kills: int, partitions: int, tmp_path: Path, rng: Random, base_seed: int
) -> None:
    async with running(tmp_path, {"CECOCHAT_PARTITIONS": str(partitions)}) as server:
        consumer = Consumer(server)
        crowd = Crowd(lambda: server.connect_url, server.secret_file, server.record)
        task = asyncio.create_task(consumer.run())
        await eventually(lambda: consumer.cursor)
        who, chats = ring(USERS)
        async with crowd.connected(who, chats):
            async with flowing(list(crowd.devices.values()), RATE_PER_S, rng):
                for _ in range(kills):
                    await asyncio.sleep(rng.uniform(1.0, 3.0))
                    if rng.random() < 0.3:
                        task = await replaced(task, consumer)
                    await server.kill()
                    await server.start()
            assert await crowd.settle(within_s=60) == []
            histories = await crowd.histories()
        due = {chat: ids for chat, ids in all_ids(histories).items() if ids}
        await eventually(lambda: consumer.told == due, within_s=60, every_s=0.5)
        task.cancel()
    assert misordered(message_ids(consumer.bodies.values()), frozenset(), crowd.record) == []
    figures = {
        **{"messages": sum(map(len, due.values())), "repeats": consumer.repeats},
        **{"missing": 0, "misordered": 0, "seed": base_seed, "kills": kills},
    }
    print(write(f"event-stream-{kills}-{partitions}", figures))


@pytest.mark.slow
@pytest.mark.parametrize("kills", [8])
@pytest.mark.timeout(1_800)
async def test_a_consumer_of_a_cluster_misses_nothing(
    kills: int, on_real: dict[str, str], tmp_path: Path, rng: Random, base_seed: int
) -> None:
    """On Kafka, where hook servers, the connect server and messaging servers are killed."""
    async with processes(tmp_path, on_real, COUNTS) as cluster:
        consumer = Consumer(cluster)
        crowd = Crowd(lambda: cluster.connect_url, cluster.secret_file, cluster.record)
        task = asyncio.create_task(consumer.run())
        await eventually(lambda: consumer.cursor, within_s=60)
        who, chats = ring(USERS)
        victims = [*cluster.of("hooks"), *cluster.of("connect"), *cluster.of("messaging")]
        async with crowd.connected(who, chats):
            async with flowing(list(crowd.devices.values()), RATE_PER_S, rng):
                for _ in range(kills):
                    await asyncio.sleep(rng.uniform(1.0, 3.0))
                    if rng.random() < 0.3:
                        task = await replaced(task, consumer)
                    victim = rng.choice(victims)
                    await victim.kill()
                    await asyncio.sleep(rng.uniform(0.0, 2.0))
                    await victim.start()
            assert await crowd.settle(within_s=120) == []
            histories = await crowd.histories()
        due = {chat: ids for chat, ids in all_ids(histories).items() if ids}
        await eventually(lambda: consumer.told == due, within_s=120, every_s=0.5)
        task.cancel()
    assert misordered(message_ids(consumer.bodies.values()), frozenset(), crowd.record) == []
    figures = {
        **{"messages": sum(map(len, due.values())), "repeats": consumer.repeats},
        **{"missing": 0, "misordered": 0, "seed": base_seed, "kills": kills},
    }
    print(write(f"event-stream-{kills}-kafka", figures))


async def replaced(task: asyncio.Task[None], consumer: Consumer) -> asyncio.Task[None]:
    """The consumer dies, and another one goes on with what it kept."""
    task.cancel()
    await asyncio.wait([task])
    return asyncio.create_task(consumer.run())
