"""The TypeScript client as its users see it: servers, networks and programs die under traffic, and
each application shows every message once, and those of one sender in the order of sending.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from random import Random

import pytest

from tests.support.apps import App, AppCrowd
from tests.support.backends import Backends
from tests.support.cut import NEAR, Network, network
from tests.support.eventually import eventually
from tests.support.nodejs import NodeProcess, node_process
from tests.support.npm import compiled
from tests.support.records import Record
from tests.support.results import write
from tests.support.server import Server, running
from tests.support.traffic import flowing, ring, volley

PACKAGE = Path(__file__).parents[2] / "clients" / "typescript"
USERS = 10
RATE_PER_S = 40
WITHIN_S = 60.0
FAULTS_IN_A_ROW = 4


@pytest.fixture(scope="module")
def package(backends: Backends) -> Path:
    """The client, compiled."""
    backends.program("node")
    return compiled(PACKAGE)


class Faults:
    """What goes wrong, one thing at a time; each returns once it has been mended."""

    def __init__(self, server: Server, node: NodeProcess, net: Network, rng: Random) -> None:
        self._server, self._node, self._net, self._rng = server, node, net, rng
        self.happened: Counter[str] = Counter()
        self._turn: list[Callable[[], Awaitable[None]]] = []

    async def next(self) -> None:
        """One of each kind in four. It returns once what is broken has been mended."""
        if not self._turn:
            self._turn = [self.server_killed, self.server_drained, self.cut, self.program_killed]
            self._rng.shuffle(self._turn)
        one = self._turn.pop()
        self.happened[one.__name__] += 1
        await one()

    async def server_killed(self) -> None:
        await self._server.kill()
        await self._server.start()

    async def server_drained(self) -> None:
        await self._server.terminate()
        await self._server.start()

    async def cut(self) -> None:
        self._net.cut()
        await asyncio.sleep(self._rng.uniform(0, 2))
        await self._net.mend()

    async def program_killed(self) -> None:
        self._node.kill()


@pytest.mark.parametrize(
    "cycles",
    [
        pytest.param(8, marks=pytest.mark.timeout(420)),
        pytest.param(1_000, marks=[pytest.mark.slow, pytest.mark.timeout(7_200)]),
    ],
)
async def test_clients_in_node_live_through_everything(
    cycles: int, package: Path, backends: Backends, tmp_path: Path, rng: Random, base_seed: int
) -> None:
    advertised = {"CECOCHAT_ADVERTISE_HOST": NEAR}
    async with (
        running(tmp_path / "up", advertised) as server,
        network(map(int, server.ports.values())) as net,
        node_process(backends.program("node"), package, tmp_path / "apps") as node,
    ):
        crowd = AppCrowd(
            lambda: server.connect_url, server.secret_file, server.record, lambda _: node
        )
        who, chats = ring(USERS)
        faults = Faults(server, node, net, rng)
        async with crowd.connected(who, chats):
            apps = crowd.devices.values()
            async with flowing(list(apps), RATE_PER_S, rng):
                for cycle in range(cycles):
                    await asyncio.sleep(rng.uniform(0.5, 3))  # any moment: few are back by then,
                    await volley(apps, rng)
                    await faults.next()
                    if cycle % FAULTS_IN_A_ROW == FAULTS_IN_A_ROW - 1:
                        await all_back(apps)  # but all of them now and then
            found = await crowd.settle(within_s=60)
    figures = {"seed": base_seed, **faults.happened, **counted(crowd.record), "found": len(found)}
    print(write(f"typescript-node-{cycles}", figures))
    assert found == []
    assert all(app.ends >= cycles // FAULTS_IN_A_ROW for app in apps), "somebody noticed nothing"


async def all_back(apps: Collection[App]) -> None:
    """Everybody is caught up, and stays so for a while: the last fault has been noticed."""
    for _ in range(20):
        await eventually(lambda: all(app.caught_up.is_set() for app in apps), WITHIN_S)
        await asyncio.sleep(0.05)


def counted(record: Record) -> dict[str, int]:
    kinds = Counter(type(entry.what).__name__.lower() for entry in record)
    return {kind: kinds[kind] for kind in ("sent", "acked", "delivered", "closed")}
