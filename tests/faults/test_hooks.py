"""Webhooks while servers are killed, and an endpoint that is killed, slow, and refuses at random:
it is told everything, in the order of each chat, and repeats have the same id.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from cecochat.adapters import build
from cecochat.auth.hooks import Signer
from cecochat.domain.hooks.endpoints import Endpoint, adding
from cecochat.ports.configuration import HOOKS
from cecochat.runtime.clock import now_ms
from cecochat.settings.settings import load
from tests.support import commands, operators
from tests.support.crowd import Crowd
from tests.support.eventually import eventually
from tests.support.hooks import Receiver, all_ids, message_ids, misordered, receiving
from tests.support.processes import Processes, processes
from tests.support.receiver import POISON
from tests.support.records import Message, Record
from tests.support.results import write
from tests.support.server import Server, running
from tests.support.traffic import flowing, ring

USERS = 20
RATE_PER_S = {"embedded": 100, "kafka": 25}
TROUBLE = 0.1
WITHIN_S = 300.0
COUNTS = {"control": 1, "messaging": 2, "materialize": 1, "history": 1, "connect": 1, "hooks": 2}


class Parked(NamedTuple):
    """What the endpoint has refused: its ids, and having it sent again."""

    ids: Callable[[], Awaitable[set[str]]]
    replay: Callable[[], Awaitable[None]]


@pytest.mark.parametrize(
    ("kills", "partitions"),
    [
        pytest.param(3, 4, marks=pytest.mark.timeout(420)),
        pytest.param(20, 12, marks=[pytest.mark.slow, pytest.mark.timeout(1_800)]),
    ],
)
async def test_an_endpoint_misses_nothing(
    kills: int, partitions: int, tmp_path: Path, rng: Random, base_seed: int
) -> None:
    """In one process, which is killed."""
    environment = {"CECOCHAT_PARTITIONS": str(partitions)}
    async with (
        running(tmp_path, environment) as server,
        receiving(tmp_path / "told", base_seed, TROUBLE) as receiver,
    ):

        async def die() -> None:
            await server.kill()
            await server.start()

        words = ("add", "shop", receiver.url, "--data", str(server.data), "--json")
        (line,) = await commands.rows(server, "hooks", *words)
        receiver.secret = str(line["secret"])
        crowd = Crowd(lambda: server.connect_url, server.secret_file, server.record)
        figures = await told(receiver, crowd, kills, rng, die, by_command(server), "embedded")
    figures |= {"seed": base_seed, "kills": kills}
    print(write(f"hooks-{kills}-{partitions}", figures))


@pytest.mark.slow
@pytest.mark.parametrize("kills", [6])
@pytest.mark.timeout(1_800)
async def test_an_endpoint_misses_nothing_of_a_cluster(
    kills: int, on_real: dict[str, str], tmp_path: Path, rng: Random, base_seed: int
) -> None:
    """On Kafka, where hook servers are killed, and messaging servers now and then."""
    async with (
        processes(tmp_path, on_real, COUNTS) as cluster,
        receiving(tmp_path / "told", base_seed, TROUBLE) as receiver,
    ):

        async def die() -> None:
            victim = rng.choice(cluster.of("hooks") * 2 + cluster.of("messaging"))
            await victim.kill()
            await asyncio.sleep(rng.uniform(0.0, 2.0))
            await victim.start()

        made = Endpoint("shop", receiver.url, now_ms())
        async with build.configuration(load(cluster.environment)) as configuration:
            await configuration.change(HOOKS, adding(made), by="test")
        receiver.secret = Signer(operators.SECRET_FILE.read_bytes()).secret(made)
        crowd = Crowd(lambda: cluster.connect_url, cluster.secret_file, cluster.record)
        figures = await told(receiver, crowd, kills, rng, die, by_asking(cluster), "kafka")
    figures |= {"seed": base_seed, "kills": kills}
    print(write(f"hooks-{kills}-kafka", figures))


async def told(
    receiver: Receiver,
    crowd: Crowd,
    kills: int,
    rng: Random,
    die: Callable[[], Awaitable[None]],
    parked: Parked,
    where: str,
) -> dict[str, Any]:
    """Have people talk while things die, and judge what the endpoint was told; the figures."""
    await receiver.start()
    who, chats = ring(USERS)
    async with crowd.connected(who, chats):
        devices = list(crowd.devices.values())
        async with flowing(devices, RATE_PER_S[where], rng):
            for _ in range(kills):
                await asyncio.sleep(rng.uniform(1.0, 3.0))
                poisoned = rng.choice(devices)
                poisoned.say(rng.choice(poisoned.chats), POISON)
                await trouble(receiver, rng, die)
        assert await crowd.settle(within_s=60) == []
        histories = await crowd.histories()
    began = time.monotonic()
    late = await replayed(receiver, histories, parked)
    figures = judged(receiver, histories, late, crowd.record)
    return {**figures, "after_traffic_s": round(time.monotonic() - began, 1)}


async def trouble(receiver: Receiver, rng: Random, die: Callable[[], Awaitable[None]]) -> None:
    """Either of both dies, or both; the endpoint is away for a while."""
    servers, endpoint = rng.choice([(True, False), (True, False), (False, True), (True, True)])
    if endpoint:
        await receiver.kill()
        await asyncio.sleep(rng.uniform(0.0, 2.0))
    if servers:
        await die()
    if endpoint:
        await receiver.start()


def by_command(server: Server) -> Parked:
    async def ids() -> set[str]:
        return {each["id"] for each in await commands.rows(server, "hooks", *words)}

    async def replay() -> None:
        """It fails as long as the endpoint refuses anything, as it does at random."""
        process = await commands.start(server, "hooks", "replay", "shop")
        await process.communicate()

    words = ("parked", "shop", "--json")
    return Parked(ids, replay)


def by_asking(cluster: Processes) -> Parked:
    async def ids() -> set[str]:
        url = f"{cluster.of('hooks')[0].ready['health_url']}/hooks/shop"
        async with operators.client() as client:
            return {each["id"] for each in (await client.get(url)).json()["parked"]}

    async def replay() -> None:
        url = f"{cluster.of('hooks')[-1].ready['health_url']}/hooks/shop"
        async with operators.client() as client:
            for id_ in await ids():
                await client.post(url, params={"replay": id_})

    return Parked(ids, replay)


async def replayed(
    receiver: Receiver, histories: Mapping[str, list[Message]], parked: Parked
) -> frozenset[int]:
    """Once everything else is there, have what is parked sent again, which is what the endpoint
    does not take; the messages that this was.
    """
    everything = [each for messages in histories.values() for each in messages]
    poison = {each.message_id for each in everything if each.text == POISON}
    assert poison, "nothing was refused for what it is"
    due = set().union(*all_ids(histories).values()) - poison

    def is_told() -> bool:
        ids = message_ids(receiver.first_told().values())
        return due <= set().union(*map(set, ids.values()))

    async def is_parked() -> bool:
        return await parked.ids() == {f"event-{id_}" for id_ in poison}

    await eventually(is_told, within_s=WITHIN_S, every_s=0.5)
    await eventually(is_parked, within_s=WITHIN_S, every_s=0.5)
    receiver.relent()
    while await parked.ids():  # it is still one that refuses at random
        await parked.replay()
    return frozenset(poison)


def judged(
    receiver: Receiver,
    histories: Mapping[str, list[Message]],
    late: frozenset[int],
    record: Record,
) -> dict[str, Any]:
    found = message_ids(receiver.first_told().values())
    due = {chat: ids for chat, ids in all_ids(histories).items() if ids}
    assert {chat: set(ids) for chat, ids in found.items()} == due
    assert misordered(found, late, record) == []
    lines = receiver.told()
    repeats = len(lines) - len(receiver.first_told())
    assert repeats > 0, "no webhook came twice, so nothing was tried"
    return {
        "messages": sum(map(len, due.values())),
        "webhooks": len(lines),
        "repeats": repeats,
        "parked": len(late),
        "missing": 0,
        "misordered": 0,
    }


def test_the_judge_finds_what_is_wrong() -> None:
    """Made up, since no run has any of it."""
    assert misordered({"g:a": [1, 3, 2]}, frozenset(), Record()) == ["g:a"]
    assert misordered({"g:a": [1, 3, 2]}, frozenset({2}), Record()) == []
    assert misordered({"d:a~b": [5, 4]}, frozenset(), Record()) == ["d:a~b"]
