"""Both servers of a set are told to stop at the same instant, as Nomad does when it promotes a
canary or drains a node, and start again as soon as they have ended.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest

from cecochat.adapters import build
from cecochat.ports.discovery import Discovery, Instance, Service
from cecochat.settings.settings import load
from cecochat.v1.history_pb2 import GetMessagesRequest
from tests.faults.test_cluster import all_back, gaps, report
from tests.support.crowd import Crowd
from tests.support.eventually import eventually
from tests.support.evidence import absences
from tests.support.processes import Processes, ServerProcess, processes
from tests.support.rawclient import NotFound, find, history
from tests.support.records import participants
from tests.support.sets import EVERY_S, judged, watching
from tests.support.shared import settled
from tests.support.traffic import flowing, ring

ONE_OF_EACH = {"control": 1, "messaging": 1, "materialize": 1, "history": 1, "connect": 1}
USERS, RATE_PER_S = 8, 20

pytestmark = pytest.mark.timeout(300)


@asynccontextmanager
async def asking(crowd: Crowd, discovery: Discovery, rng: Random) -> AsyncIterator[list[float]]:
    """A client that looks up where to go and reads a page, all the time: when answers came."""
    answered_s = [time.monotonic()]
    chat = min(crowd.chats)
    token = crowd.token(min(participants(chat)))

    async def ask() -> None:
        while True:
            with suppress(NotFound, grpc.aio.AioRpcError):
                await _page(discovery, chat, token, rng)
                answered_s.append(time.monotonic())
            await asyncio.sleep(EVERY_S)

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(ask())
        yield answered_s
        task.cancel()
    answered_s.append(time.monotonic())


async def _page(discovery: Discovery, chat: str, token: str, rng: Random) -> None:
    """Raises `NotFound`, `grpc.aio.AioRpcError`."""
    if not (listed := discovery.live("connect")):
        raise NotFound("no connect server is live")
    route = await find(f"http://{rng.choice(listed).address}", token)
    if not route.history:
        raise NotFound("no history server is live")
    async with history(route.history, token) as pages:
        await pages.page(GetMessagesRequest(chat_id=chat, limit=1))


@asynccontextmanager
async def talking(cluster: Processes, discovery: Discovery, rng: Random) -> AsyncIterator[Crowd]:
    """Few devices, which ask any connect server; at the end all is quiet and judged."""

    def connect_url() -> str:
        live = discovery.live("connect")
        return f"http://{rng.choice(live).address}" if live else cluster.connect_url

    crowd = Crowd(connect_url, cluster.secret_file, cluster.record)
    who, chats = ring(USERS)
    async with crowd.connected(who, chats):
        async with flowing(list(crowd.devices.values()), RATE_PER_S, rng):
            yield crowd
        assert await crowd.settle(within_s=90) == []


async def stopped(servers: Iterable[ServerProcess]) -> None:
    """All told at once."""
    codes = await asyncio.gather(*(each.terminate() for each in servers))
    assert set(codes) == {0}


async def started_again(servers: Iterable[ServerProcess]) -> None:
    """All told to stop at once, each started as soon as it has ended."""

    async def again(server: ServerProcess) -> None:
        await stopped([server])
        await server.start()

    await asyncio.gather(*map(again, servers))


async def told(
    service: Service,
    both: list[ServerProcess],
    end: Callable[[Iterable[ServerProcess]], Awaitable[None]],
    crowd: Crowd,
    discovery: Discovery,
    rng: Random,
) -> dict[str, Any]:
    """What was seen while two servers of a set were told to stop."""
    names, mark = [each.instance_id for each in both], len(crowd.record.entries)
    async with (
        watching(discovery, service) as seen,
        asking(crowd, discovery, rng) as answered_s,
    ):
        await end(both)
        await all_back(crowd)
    away = absences(crowd.record.entries[mark:])
    return {
        **seen.figures(names),
        "without_an_answer_s": round(max(b - a for a, b in pairwise(answered_s)), 2),
        **(gaps(away) if away else {}),
    }


@pytest.mark.parametrize("service", ["messaging", "history", "connect"])
async def test_both_of_a_set_are_told_at_once_and_start_again(
    service: Service, on_real: dict[str, str], tmp_path: Path, rng: Random, base_seed: int
) -> None:
    """As when a node is drained that has both."""
    counts = {**ONE_OF_EACH, service: 2}
    async with (
        processes(tmp_path, on_real, counts) as cluster,
        build.discovery(load(on_real)) as discovery,
        talking(cluster, discovery, rng) as crowd,
    ):
        await eventually(lambda: settled(on_real, counts["messaging"]), within_s=60, every_s=0.2)
        both = cluster.of(service)
        names = {each.instance_id for each in both}
        await eventually(lambda: names <= ids_of(discovery.live(service)), within_s=60)
        found = await told(service, both, started_again, crowd, discovery, rng)
    report(f"turns-{service}", base_seed, crowd, **found)
    judged(found)


def ids_of(servers: Iterable[Instance]) -> set[str]:
    return {each.instance_id for each in servers}


async def test_two_of_three_messaging_servers_are_told_at_once(
    on_real: dict[str, str], tmp_path: Path, rng: Random, base_seed: int
) -> None:
    """As when a canary is promoted."""
    counts = {**ONE_OF_EACH, "messaging": 3}
    async with (
        processes(tmp_path, on_real, counts) as cluster,
        build.discovery(load(on_real)) as discovery,
        talking(cluster, discovery, rng) as crowd,
    ):
        await eventually(lambda: settled(on_real, 3), within_s=60, every_s=0.2)
        old = cluster.of("messaging")[:2]
        found = await told("messaging", old, stopped, crowd, discovery, rng)
    report("turns-canary", base_seed, crowd, **found)
    judged(found)
