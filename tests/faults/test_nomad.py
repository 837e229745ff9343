"""The jobs on a Nomad of the test's own: deployed, killed, drained, scaled and updated while people
talk. tests/faults/test_processes.py does the same to the stack of one machine.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cecochat.adapters import build
from cecochat.client import find_route
from cecochat.ports.discovery import SERVICES, Service
from cecochat.settings.settings import load
from scripts.backends.launch import Backend, private
from tests.support import shared
from tests.support.backends import Backends
from tests.support.crowd import Crowd
from tests.support.deployed import Deployed
from tests.support.edge import free_address
from tests.support.eventually import eventually
from tests.support.listeners import kill
from tests.support.nomad import agent, second_node
from tests.support.records import Refused
from tests.support.results import write
from tests.support.scenarios import GROWING, felt, grow_and_shrink, lose_a_server, lose_the_leader
from tests.support.server import NO_LIMITS
from tests.support.sets import SECOND_S, judged, watching_all
from tests.support.traffic import flowing, ring

QUICK = {"scale.messaging.cooldown_s": 1.0, "drain.spread_s": 1.0, "scale.connect.min": 2}

pytestmark = pytest.mark.timeout(1_200)


@pytest.fixture
async def deployed(
    on_real: dict[str, str], backends: Backends, tmp_path: Path
) -> AsyncIterator[Deployed]:
    program = backends.program("nomad")
    environment = on_real | {"CECOCHAT_DATA_DIR": str(tmp_path / "data")}
    async with agent(program, tmp_path, on_real["CECOCHAT_CONSUL"]) as started:
        found = Deployed(started, environment, tmp_path)
        await shared.configure(environment, {**NO_LIMITS, **QUICK})
        print(await asyncio.to_thread(found.deploy, "1"))
        await eventually(lambda: shared.settled(environment, 2), within_s=60, every_s=0.2)
        yield found


@pytest.fixture
def own_consul(real: dict[str, Backend], tmp_path: Path) -> Iterator[str]:
    """Of a second node; the first has the one of all tests."""
    with private("consul", tmp_path / "consul") as second:
        second.start()
        yield second.address


async def test_servers_are_killed_stopped_and_drained(
    deployed: Deployed, own_consul: str, rng: Random, base_seed: int, tmp_path: Path
) -> None:
    where = deployed.environment
    figures: dict[str, Any] = {"seed": base_seed, "python": sys.version.split()[0]}
    async with deployed.talking(rng) as (crowd, lookout):
        for name, end in (("killed", kill), ("stopped", deployed.stop_allocation)):
            figures[name] = await lose_a_server(where, crowd, rng, end)
        figures["led_again_s"] = await lose_the_leader(where, kill)
        figures["killed_after_the_leader"] = await lose_a_server(where, crowd, rng, kill)
        async with second_node(deployed.agent, tmp_path, own_consul) as second:
            for node, emptied in ((deployed.agent, "drained"), (second, "drained_back")):
                figures[emptied] = await _drained(deployed, node.name, crowd)
    assert figures["stopped"]["refused"] == 0
    figures |= lookout.figures()
    print(write("nomad-deaths", figures))


async def _drained(deployed: Deployed, name: str, crowd: Crowd) -> dict[str, Any]:
    """All servers are on that node, and leave it for the other one."""
    nomad = deployed.agent
    node = (await nomad.node(name))["ID"]

    async def there() -> list[Any]:
        return [each for each in await nomad.running() if each["NodeID"] == node]

    assert await there() == await nomad.running()

    async def drain() -> None:
        await asyncio.to_thread(nomad.run, "node", "drain", "-enable", "-yes", "-detach", node)

        async def empty() -> bool:
            return not await there()

        await eventually(empty, within_s=300, every_s=0.5)

    found = await _replaced(deployed, crowd, drain)
    await asyncio.to_thread(nomad.run, "node", "drain", "-disable", "-yes", node)
    return found


async def _replaced(
    deployed: Deployed, crowd: Crowd, replace: Callable[[], Awaitable[None]]
) -> dict[str, Any]:
    """`replace` the two servers of each set by others: what was seen, which is judged."""
    where = deployed.environment
    async with build.discovery(load(where)) as discovery:
        await eventually(lambda: all(len(discovery.live(each)) == 2 for each in SERVICES), 120)
        mark, began_s = len(crowd.record.entries), time.time()
        old = {service: discovery.live(service) for service in SERVICES}
        async with watching_all(discovery) as sets:
            await replace()
            await eventually(lambda: shared.settled(where, 2), within_s=120, every_s=0.2)
            figures = await felt(crowd, mark)
    for service, seen in sets.items():
        figures[service] = seen.figures(each.instance_id for each in old[service])
        figures[service]["second_told_after_s"] = await _told_apart_s(deployed, service, began_s)
    print(json.dumps(figures, indent=2))
    for service in SERVICES:  # a control server has little to end
        judged(figures[service], 0.5 if service == "control" else SECOND_S)
    assert figures["refused"] == 0
    return figures


async def _told_apart_s(deployed: Deployed, service: Service, since_s: float) -> float:
    """How long after one server of the set Nomad has told the other one to stop."""
    first_s, second_s = await deployed.agent.told_to_stop(f"cecochat-{service}", since_s)
    return round(second_s - first_s, 2)


async def test_a_new_version_comes_and_a_broken_one_is_taken_back(
    deployed: Deployed, rng: Random, base_seed: int
) -> None:
    where = deployed.environment

    async def ids() -> set[str]:
        return {each.instance_id for each in await shared.live(where, "messaging")}

    async def update() -> None:
        print(await asyncio.to_thread(deployed.deploy, "2"))

    async with deployed.talking(rng) as (crowd, lookout):
        first = await ids()
        figures: dict[str, Any] = {"seed": base_seed}
        figures["updated"] = await _replaced(deployed, crowd, update)
        second, mark = await ids(), len(crowd.record.entries)
        assert not first & second, "a server of the old version runs on"
        said = await asyncio.to_thread(deployed.deploy_broken, "3")
        print(said)
        assert "messaging did not become healthy" in said
        assert "Reverted to the version before: materialize, history" in said
        assert await ids() == second, "a broken version has cost a server of the one before"
        for service in ("materialize", "history"):
            await eventually(partial(_is_back, deployed, service), within_s=300, every_s=1.0)
        refused = [
            entry for entry in crowd.record.entries[mark:] if isinstance(entry.what, Refused)
        ]
    assert refused == []
    figures |= lookout.figures()
    print(write("nomad-versions", figures))


async def _is_back(deployed: Deployed, service: Service) -> bool:
    """Whether the servers of the version before are all there again."""
    latest = await deployed.agent.get(f"job/cecochat-{service}/deployment")
    return bool(latest["Status"] == "successful")


async def test_a_set_grows_with_the_load_and_shrinks_without(
    deployed: Deployed, rng: Random, base_seed: int
) -> None:
    where = deployed.environment
    await shared.configure(where, GROWING)
    async with build.discovery(load(where)) as discovery:
        secret = Path(where["CECOCHAT_DATA_DIR"]) / "token-secret"
        crowd = Crowd(
            lambda: f"http://{discovery.live('connect')[0].address}", secret, transport="grpc"
        )
        numbers = await grow_and_shrink(where, crowd, rng)
    print(write("scale-nomad", {"seed": base_seed, "wanted": numbers}))


async def test_clients_come_through_the_edge_of_a_node(
    on_real: dict[str, str], backends: Backends, tmp_path: Path, rng: Random
) -> None:
    """A messaging server's port of the edge is one that Nomad has reserved for it."""
    backends.program("haproxy")
    environment = on_real | {"CECOCHAT_DATA_DIR": str(tmp_path / "data")}
    async with agent(backends.program("nomad"), tmp_path, on_real["CECOCHAT_CONSUL"]) as started:
        found = Deployed(started, environment, tmp_path, edge=free_address())
        await shared.configure(environment, {**NO_LIMITS, **QUICK})
        said = await asyncio.to_thread(found.deploy, "1")
        assert "edge: version 0 is healthy" in said
        assert "6 jobs deployed" in said
        await eventually(lambda: shared.settled(environment, 2), within_s=60, every_s=0.2)
        secret = Path(environment["CECOCHAT_DATA_DIR"]) / "token-secret"
        crowd = Crowd(lambda: f"http://{found.edge}", secret, transport="grpc")
        who, chats = ring(10)
        tokens = [crowd.token(each.user_id) for each in who]

        async def told() -> set[str]:
            routes = [await find_route(f"http://{found.edge}", token) for token in tokens]
            assert {route.history for route in routes} == {found.edge}
            return {route.messaging for route in routes}

        servers = await shared.live(environment, "messaging")
        async with crowd.connected(who, chats):
            assert await told() == {each.address for each in servers}
            async with flowing(list(crowd.devices.values()), 50, rng):
                await asyncio.sleep(1)  # it flows
                await found.stop_allocation(servers[0])
                await asyncio.sleep(15)  # it flows on, and another one is placed
            assert await crowd.settle(within_s=60) == []
        assert not {each.address for each in servers} & {each.behind for each in servers}
