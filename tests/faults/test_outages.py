"""Backends that stop for a while, one after the other, while people talk on a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from scripts.backends.launch import Backend
from tests.faults.test_cluster import RATE_PER_S, all_back, count, flowing_on
from tests.faults.trial import Trial
from tests.support import operators
from tests.support.crowd import Crowd
from tests.support.eventually import eventually
from tests.support.processes import Processes
from tests.support.records import Acked, Sent

LAG = "cecochat_materialize_lag_records "
pytestmark = pytest.mark.timeout(420)


async def outage(backends: Mapping[str, Backend], names: list[str], lasts_s: float) -> None:
    """SIGKILL, the time, and start again until it answers."""
    for name in names:
        await asyncio.to_thread(backends[name].kill)
        assert not backends[name].answers()
    await asyncio.sleep(lasts_s)
    for name in names:
        await asyncio.to_thread(backends[name].start)


async def test_kafka_is_away_for_ten_seconds(trial: Trial) -> None:
    """Sends wait: nothing is acknowledged meanwhile, and nothing is lost."""
    async with trial.talking() as (_, crowd):
        before = len(crowd.record.entries)
        await outage(trial.backends, ["kafka"], 10)
        back = len(crowd.record.entries)
        assert count(crowd, before, Sent) > 0
        await all_back(crowd)
        await flowing_on(crowd, back, RATE_PER_S)
    trial.report("outage-kafka", crowd)


async def test_cassandra_is_away(trial: Trial, thorough: bool) -> None:
    """People talk on; the history catches up afterwards."""
    lasts_s = 30 if thorough else 12
    async with trial.talking() as (cluster, crowd):
        before = len(crowd.record.entries)
        gone = asyncio.create_task(outage(trial.backends, ["cassandra"], lasts_s))
        await until_lag(cluster, lambda records: records > RATE_PER_S)
        await gone
        assert count(crowd, before, Acked) > RATE_PER_S * lasts_s / 2, (
            "they hardly talked meanwhile"
        )
        await until_lag(cluster, lambda records: records < RATE_PER_S)
        waited = [each for each in cluster.of("materialize") if "waiting for the" in each.said]
        assert waited, "no materialize server noticed"
    trial.report("outage-cassandra", crowd)


async def test_redis_and_consul_are_away(trial: Trial, thorough: bool) -> None:
    """What is known stays in use: people talk, and come back to where they were."""
    lasts_s = 60 if thorough else 24
    async with trial.talking() as (cluster, crowd):
        owners = await cluster.owners()
        before = len(crowd.record.entries)
        gone = asyncio.create_task(outage(trial.backends, ["redis", "consul"], lasts_s))
        await asyncio.sleep(lasts_s / 3)
        await reconnects(crowd)
        await gone
        assert count(crowd, before, Acked) > RATE_PER_S * lasts_s / 2, (
            "they hardly talked meanwhile"
        )
        await asyncio.sleep(10)
        assert await cluster.owners() == owners, "an outage of these is no reason to move anything"
        assert_said(cluster, "configuration cannot be followed")
    trial.report("outage-redis-consul", crowd)


async def lag(cluster: Processes) -> float:
    """Records that the most backward partition is behind, as the servers tell."""
    lags = []
    async with operators.client() as client:
        for server in cluster.of("materialize"):
            text = (await client.get(f"{server.ready['health_url']}/metrics")).text
            (line,) = (line for line in text.splitlines() if line.startswith(LAG))
            lags.append(float(line.split()[1]))
    return max(lags)


async def until_lag(cluster: Processes, holds: Callable[[float], bool]) -> None:
    async def seen() -> bool:
        return holds(await lag(cluster))

    await eventually(seen, within_s=60, every_s=1)


async def reconnects(crowd: Crowd) -> None:
    """Every device leaves and comes back, to where the connect server remembers."""
    for who in crowd.online:
        crowd.devices[who].leave()
    await eventually(lambda: not any(crowd.devices[who].caught_up.is_set() for who in crowd.online))
    await all_back(crowd)


def assert_said(cluster: Processes, what: str) -> None:
    silent = [each.name for each in cluster.servers.values() if what not in each.said]
    assert not silent, f"{silent} did not say that {what}"
