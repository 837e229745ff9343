"""Redis loses the latest assignment and is given another one of the same version, while people
talk: servers that followed one, and a server that was cut off and follows the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

import pytest
from redis.asyncio import Redis

from cecochat.adapters import build
from cecochat.domain.cluster.versions import Rank, digest, rank
from cecochat.ports.configuration import ASSIGNMENT, Configuration, Document
from cecochat.settings.settings import load
from tests.faults.test_cluster import RATE_PER_S, all_back, count
from tests.faults.trial import Trial
from tests.support.eventually import eventually
from tests.support.outages import PARTITIONS
from tests.support.processes import Processes
from tests.support.records import Sent

pytestmark = pytest.mark.timeout(300)
COUNTS = {"control": 1, "messaging": 3, "materialize": 1, "history": 1, "connect": 2}
TAKEN = "taken over by"
TURNS = 4  # one content, the other, one again, and what control makes of it
QUIET_S = 5.0


def drawn(
    ids: list[str], rng: Random, fits: Callable[[dict[str, str]], bool] = bool
) -> dict[str, str]:
    """An assignment to these servers that `fits`."""
    while True:
        value = {str(partition): rng.choice(ids) for partition in range(PARTITIONS)}
        if set(value.values()) == set(ids) and fits(value):
            return value


async def replaced(trial: Trial, configuration: Configuration, by: Document) -> None:
    """The store forgets the document and is given another content of the same version."""
    host, _, port = trial.backends["redis"].address.rpartition(":")
    async with Redis(host=host, port=int(port)) as redis:
        assert await redis.delete(f"{trial.environment['CECOCHAT_NAMESPACE']}:{ASSIGNMENT}")
    assert await configuration.restore(by)


def handed_over(cluster: Processes) -> int:
    return sum(each.said.count(TAKEN) for each in cluster.of("messaging"))


async def until_quiet(cluster: Processes) -> int:
    """What was handed over in all, once nothing is any more. Raises TimeoutError if they go on
    taking turns.
    """
    async with asyncio.timeout(60):
        while True:
            count_before = handed_over(cluster)
            await asyncio.sleep(QUIET_S)
            if handed_over(cluster) == count_before:
                return count_before


@pytest.mark.parametrize("later", ["lost", "kept"])
async def test_become_one_and_nobody_takes_turns(trial: Trial, later: str) -> None:
    """Of the two contents the one that is later, by its digest, is lost or kept by the store."""
    async with (
        trial.talking(COUNTS) as (cluster, crowd),
        build.configuration(load(trial.environment)) as configuration,
    ):
        (control,), servers = cluster.of("control"), cluster.of("messaging")
        ids = [each.instance_id for each in servers]
        await control.kill()
        apart = trial.rng.choice(servers)
        others = [each for each in servers if each is not apart]
        before, moves = await configuration.get(ASSIGNMENT), handed_over(cluster)
        running = {each.instance_id for each in others}
        kept = drawn(ids, trial.rng)

        def fits(value: dict[str, str]) -> bool:
            """Those that run hand something over to each other."""
            pairs = ({before.value[partition], to} for partition, to in value.items())
            return running in pairs and (digest(value) > digest(kept)) == (later == "lost")

        lost = drawn(ids, trial.rng, fits)
        apart.pause()
        await configuration.put(ASSIGNMENT, lost, expected=before.version, by="test")
        await eventually(lambda: handed_over(cluster) > moves, within_s=30, every_s=0.1)
        same = Document(ASSIGNMENT, before.version + 1, kept, 0, "test")
        await replaced(trial, configuration, same)
        apart.go_on()
        await asyncio.sleep(QUIET_S)  # two contents are in force
        mark = len(crowd.record.entries)
        await control.start()
        await one_content(configuration, max(same.rank, rank(same.version, lost)))
        await all_back(crowd)
        moves_in_all = await until_quiet(cluster) - moves
        assert moves_in_all <= TURNS * PARTITIONS
        assert count(crowd, mark, Sent) > RATE_PER_S / 2, "hardly any traffic"
        if later == "lost":
            assert any("gone back" in each.said for each in others), "nobody met the two contents"
    trial.report(f"two-contents-later-{later}", crowd, handed_over=moves_in_all)


async def one_content(configuration: Configuration, latest: Rank) -> None:
    """The store holds the latest of the two, or a version after it."""

    async def settled() -> bool:
        return (await configuration.get(ASSIGNMENT)).rank >= latest

    await eventually(settled, within_s=60, every_s=0.2)
