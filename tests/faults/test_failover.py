"""A messaging server dies together with something that its failover would need: the control server
that leads, or Consul.
"""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from tests.faults.test_cluster import all_back, failed_over, gaps
from tests.faults.trial import Trial
from tests.support import operators
from tests.support.eventually import eventually
from tests.support.evidence import absences
from tests.support.processes import Processes, ServerProcess
from tests.support.shared import settled

pytestmark = pytest.mark.timeout(420)
COUNTS = {"control": 2, "messaging": 3, "materialize": 1, "history": 1, "connect": 1}


async def leader(cluster: Processes) -> ServerProcess:
    """The control server that leads."""
    async with operators.client() as client:
        for server in cluster.of("control"):
            if (await client.get(f"{server.ready['health_url']}/control")).json()["leads"]:
                return server
    raise AssertionError("no control server leads")


async def test_with_the_control_server_that_leads(trial: Trial, thorough: bool) -> None:
    async with trial.talking(COUNTS) as (cluster, crowd):
        took_s = []
        for _ in range(3 if thorough else 1):
            before = await cluster.owners()
            victims = await leader(cluster), dying(cluster, trial.rng)
            dead = victims[1].instance_id
            await asyncio.gather(*(victim.kill() for victim in victims))
            took_s.append(await failed_over(cluster, dead, before))
            await asyncio.gather(*(victim.start() for victim in victims))
            await all_back(crowd)
            await eventually(
                lambda: settled(trial.environment, COUNTS["messaging"]), 60, every_s=0.2
            )
        away = absences(crowd.record.entries)
    trial.report("leader-and-messaging-killed", crowd, failover_s=took_s, **gaps(away))


async def test_while_consul_is_away(trial: Trial, thorough: bool) -> None:
    away_s = 180.0 if thorough else 20.0
    async with trial.talking(COUNTS) as (cluster, crowd):
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(trial.backends["consul"].kill)
        try:
            until_s = loop.time() + away_s
            await asyncio.sleep(
                trial.rng.uniform(1, away_s / 3)
            )  # with a leader yet, or none any more
            before, victim = await cluster.owners(), dying(cluster, trial.rng)
            dead, mark = victim.instance_id, len(crowd.record.entries)
            await victim.kill()
            failover_s = await failed_over(cluster, dead, before)
            await all_back(crowd)
            away = absences(crowd.record.entries[mark:])
            await asyncio.sleep(until_s - loop.time())
        finally:
            await asyncio.to_thread(trial.backends["consul"].start)
        after = await cluster.owners()
        await asyncio.sleep(15)  # Consul tells of the dead one for a grace
        assert dead not in (await cluster.owners()).values()
        assert await cluster.owners() == after, "nothing moves because Consul is back"
        await victim.start()
        await all_back(crowd)
    trial.report("consul-away-messaging-killed", crowd, failover_s=failover_s, **gaps(away))


def dying(cluster: Processes, rng: Random) -> ServerProcess:
    return rng.choice(cluster.of("messaging"))
