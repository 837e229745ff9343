"""The alerts on a cluster: silent while nothing is wrong, and each there under its fault.

Their real `for` is tried by promtool, in tests/unit/test_rules.py; here they wait for a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import httpx
import pytest

from cecochat.adapters import build
from cecochat.ports.backplane import NewRecord
from cecochat.ports.configuration import CONFIGURATION
from cecochat.runtime.settings import load
from scripts.backends import promtool
from scripts.backends.launch import Backend
from tests.faults.test_cluster import talking
from tests.support.backends import Backends
from tests.support.eventually import eventually
from tests.support.outages import PARTITIONS
from tests.support.processes import Processes, processes
from tests.support.prometheus import Prometheus, watching

COUNTS = {"control": 1, "messaging": 1, "materialize": 1, "history": 1, "connect": 1}
PEACE_S = 20
OF_A_SLOW_MACHINE = {"EventLoopLate", "MessagesLate"}
"""How fast a machine is judges no test, and here they do not wait for minutes."""


@pytest.fixture
def program(backends: Backends) -> str:
    there = promtool.prometheus_here()
    if there is None:
        backends.absent("promtool", "`python3 -m scripts.backends.promtool` brings it")
    return there


@asynccontextmanager
async def away(backend: Backend) -> AsyncIterator[None]:
    """Killed, and started again in the end."""
    await asyncio.to_thread(backend.kill)
    try:
        yield
    finally:
        await asyncio.to_thread(backend.start)


@pytest.mark.timeout(600)
async def test_alerts_are_silent_in_peace_and_fire_under_their_faults(
    real: Mapping[str, Backend],
    on_real: dict[str, str],
    program: str,
    tmp_path: Path,
    rng: Random,
) -> None:
    async with (
        processes(tmp_path, on_real, COUNTS) as cluster,
        talking(cluster, rng),
        watching(program, tmp_path / "prometheus", cluster) as prometheus,
    ):
        await silent(prometheus)
        await tokens_that_nobody_signed(cluster)
        await prometheus.until_firing("TokensRefused")
        await cluster.configure({"sessions.max_per_server": 1})
        await prometheus.until_firing("SessionsNearLimit")
        await cluster.configure({"sessions.max_per_server": 1_000})
        await poison(on_real)
        await prometheus.until_firing("DeadLetters")
        async with away(real["redis"]):
            await prometheus.until_firing("ConfigurationNotFollowed", "AssignmentNotFollowed")
        await a_document_that_nobody_understands(on_real)
        await prometheus.until_firing("DocumentRefused")
        async with away(real["cassandra"]):
            await prometheus.until_firing("HistoryDoesNotTakeRows")
        async with away(real["kafka"]):
            await prometheus.until_firing("AppendsWait")
        (messaging,) = cluster.of("messaging")
        await messaging.kill()
        await prometheus.until_firing("TargetDown", "ServiceGone", "PartitionsWithoutOwner")
        await messaging.start()


async def silent(prometheus: Prometheus) -> None:
    """From when it has seen the servers for some time."""

    async def quiet() -> bool:
        return await prometheus.firing() <= OF_A_SLOW_MACHINE

    await eventually(quiet, within_s=60, every_s=0.5)
    for _ in range(PEACE_S):
        assert await prometheus.firing() <= OF_A_SLOW_MACHINE
        await asyncio.sleep(1)


async def tokens_that_nobody_signed(cluster: Processes) -> None:
    """More than one a second, over the minute that the rule looks at."""
    headers = {"authorization": "Bearer nonsense"}
    async with httpx.AsyncClient(trust_env=False, headers=headers) as client:
        for _ in range(200):
            answer = await client.get(f"{cluster.connect_url}/v1/connect")
            assert answer.status_code == httpx.codes.UNAUTHORIZED
            await asyncio.sleep(0.02)


async def poison(environment: Mapping[str, str]) -> None:
    async with build.backplane(load(environment)) as log:
        producer = await log.producer()
        await producer.append(
            [
                NewRecord(partition, b"who", b"what", (("v", "?"),))
                for partition in range(PARTITIONS)
            ]
        )
        await producer.close()


async def a_document_that_nobody_understands(environment: Mapping[str, str]) -> None:
    async with build.configuration(load(environment)) as configuration:
        await configuration.change(CONFIGURATION, lambda old: {**old, "new.key": 1}, by="test")
