"""A whole cluster of three guests for each test, and people who talk on it."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from random import Random

import pytest
from aiokafka.admin import AIOKafkaAdminClient  # type: ignore[import-untyped]

from tests.cluster import people
from tests.cluster.guests import Guest, all_up, spread_out
from tests.cluster.network import clients
from tests.support.backends import Backends
from tests.support.eventually import eventually

NODES = 3
Talking = Callable[[str, "list[Guest]"], AbstractAsyncContextManager[people.People]]


@pytest.fixture
async def guests(backends: Backends) -> list[Guest]:
    """All of them there, and in step with each other."""
    found = await asyncio.to_thread(all_up, NODES)
    if not found:
        backends.absent("cluster")
    await whole(found)
    await asyncio.to_thread(spread_out, found)
    for guest in found:
        await owning(guest)
    return found


async def owning(guest: Guest, ended: Collection[str] = ()) -> None:
    """Wait until a messaging server of it owns partitions, none of those that have `ended`: control
    balances after a while.
    """
    await eventually(lambda: asyncio.to_thread(guest.partitions, ended), within_s=180, every_s=1)


async def whole(guests: list[Guest]) -> None:
    """Wait until nothing is left of what was done to them."""
    await asyncio.to_thread(guests[0].wait, len(guests))
    await eventually(partial(in_step, guests), within_s=300, every_s=1)


async def in_step(guests: list[Guest]) -> bool:
    """Whether every replica of a partition in Kafka is."""
    admin = AIOKafkaAdminClient(bootstrap_servers=[f"{each.address}:9092" for each in guests])
    await admin.start()
    try:
        topics = await admin.describe_topics()
    finally:
        await admin.close()
    partitions = [each for topic in topics for each in topic["partitions"]]
    assert partitions, "Kafka has no topics"
    return all(len(each["isr"]) == len(each["replicas"]) for each in partitions)


@pytest.fixture
def outside() -> Iterator[str]:
    """The namespace of clients that are on no guest."""
    with clients() as namespace:
        yield namespace


@pytest.fixture
def talking(rng: Random, base_seed: int, tmp_path: Path) -> Talking:
    """`async with talking(namespace, guests) as people`, with those guests' connect servers."""

    def start(namespace: str, those: list[Guest]) -> AbstractAsyncContextManager[people.People]:
        urls = [guest.connect_url for guest in those]
        name = f"user-{uuid.uuid4().hex[:8]}"  # the history keeps what runs before have said
        return people.talking(namespace, urls, name, rng.randrange(2**32), tmp_path)

    return start
