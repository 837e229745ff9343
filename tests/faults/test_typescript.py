"""The TypeScript client as its users see it: servers, networks and programs die under traffic, and
each application shows every message once, and those of one sender in the order of sending.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection
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

    async def next(self, apps: Collection[App]) -> None:
        """Return once everybody has noticed it, and is back."""
        before = {app.name: app.ends for app in apps}
        one = self._rng.choice([self.server_killed, self.server_drained, self.cut, self.program])
        self.happened[one.__name__] += 1
        await one()
        await eventually(lambda: all(app.ends > before[app.name] for app in apps), WITHIN_S)
        await eventually(lambda: all(app.caught_up.is_set() for app in apps), WITHIN_S)

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

    async def program(self) -> None:
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
                for _ in range(cycles):
                    await asyncio.sleep(rng.uniform(0.5, 2))  # any moment
                    await volley(apps, rng)
                    await faults.next(apps)
            found = await crowd.settle(within_s=60)
    figures = {"seed": base_seed, **faults.happened, **counted(crowd.record), "found": len(found)}
    print(write(f"typescript-node-{cycles}", figures))
    assert found == []


def counted(record: Record) -> dict[str, int]:
    kinds = Counter(type(entry.what).__name__.lower() for entry in record)
    return {kind: kinds[kind] for kind in ("sent", "acked", "delivered", "closed")}
