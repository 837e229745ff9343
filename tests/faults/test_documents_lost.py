"""Redis loses everything while control is moved to a machine without a copy, and people talk."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping

import pytest
from redis.asyncio import Redis

from cecochat.adapters import build
from cecochat.ports.configuration import ASSIGNMENT, CONFIGURATION, Document
from cecochat.settings.settings import load
from tests.faults.test_cluster import FAILED_OVER_S, RATE_PER_S, all_back, count
from tests.faults.trial import Trial
from tests.support.eventually import eventually
from tests.support.outages import PARTITIONS
from tests.support.processes import Processes
from tests.support.records import Sent

pytestmark = pytest.mark.timeout(300)
WENT_BACK = "the store of the assignment has gone back to version 0"
NAMES = (CONFIGURATION, ASSIGNMENT)


async def documents(environment: Mapping[str, str]) -> list[Document]:
    async with build.configuration(load(environment)) as configuration:
        return [await configuration.get(name) for name in NAMES]


async def moved_from(cluster: Processes, dead: str) -> float:
    """Seconds until every partition is another server's, as the assignment says."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()

    async def moved() -> bool:
        owners = await cluster.owners()
        return len(owners) == PARTITIONS and dead not in owners.values()

    await eventually(moved, within_s=FAILED_OVER_S, every_s=0.1)
    return round(loop.time() - began_s, 2)


async def test_the_servers_remember_and_a_dead_one_is_failed_over(trial: Trial) -> None:
    """A control server that begins again at version 1 would be followed by nobody."""
    async with trial.talking() as (cluster, crowd):
        (control,) = cluster.of("control")
        victim = trial.rng.choice(cluster.of("messaging"))
        known = await documents(trial.environment)
        await control.kill()
        shutil.rmtree(cluster.folder / "data" / "control")
        host, _, port = trial.backends["redis"].address.rpartition(":")
        async with Redis(host=host, port=int(port)) as redis:
            await redis.flushall()
        assert [each.version for each in await documents(trial.environment)] == [0, 0]
        await victim.kill()
        followers = cluster.of("connect") + cluster.of("messaging")
        survivors = [each for each in followers if each is not victim]
        await eventually(lambda: all(WENT_BACK in each.said for each in survivors))
        mark = len(crowd.record.entries)
        await control.start()
        failover_s = await moved_from(cluster, victim.instance_id)
        configuration, assignment = await documents(trial.environment)
        assert configuration == known[0]
        assert assignment.version > known[1].version
        await victim.start()
        await all_back(crowd)
        assert count(crowd, mark, Sent) > RATE_PER_S / 2, "hardly any traffic"
    trial.report("redis-emptied-control-moved", crowd, failover_s=failover_s)
