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
from playwright.async_api import Browser

from tests.support.apps import App, AppCrowd
from tests.support.backends import Backends
from tests.support.cut import NEAR, Network, network
from tests.support.eventually import eventually
from tests.support.nodejs import node_process
from tests.support.pages import PageApp, PageCrowd
from tests.support.records import Record
from tests.support.results import write
from tests.support.server import Server, running
from tests.support.traffic import flowing, ring, volley
from tests.support.typescript import built

USERS = 10
RATE_PER_S = 40
WITHIN_S = 60.0
FAULTS_IN_A_ROW = 4
PEOPLE = 10
TYPED_PER_S = 8


@pytest.fixture(scope="module")
def dist(backends: Backends) -> Path:
    """The client, compiled."""
    return built(backends)


Fault = Callable[[], Awaitable[object]]


class Faults:
    """What goes wrong, one thing at a time; each returns once it has been mended."""

    def __init__(self, rng: Random, *kinds: Fault) -> None:
        self._rng, self._kinds = rng, kinds
        self._turn: list[Fault] = []
        self.happened: Counter[str] = Counter()

    async def next(self) -> None:
        """Each kind once, before any comes again."""
        if not self._turn:
            self._turn = self._rng.sample(self._kinds, len(self._kinds))
        one = self._turn.pop()
        self.happened[one.__name__] += 1
        await one()


class Outside:
    """What goes wrong around the clients."""

    def __init__(self, server: Server, net: Network, rng: Random) -> None:
        self._server, self._net, self._rng = server, net, rng

    async def server_killed(self) -> None:
        await self._server.kill()
        await self._server.start()

    async def server_drained(self) -> None:
        await self._server.terminate()
        await self._server.start()

    async def network_cut(self) -> None:
        self._net.cut()
        await asyncio.sleep(self._rng.uniform(0, 2))
        await self._net.mend()


class Inside:
    """What happens to the pages."""

    def __init__(self, crowd: PageCrowd, rng: Random) -> None:
        self._crowd, self._rng = crowd, rng

    async def offline(self) -> None:
        """A browser that says so, and opens no connection."""
        for app in self._some():
            await app.context.set_offline(True)
            await asyncio.sleep(self._rng.uniform(0, 2))
            await app.context.set_offline(False)

    async def reloaded(self) -> None:
        for app in self._some():
            await app.reload()

    async def tab_closed(self) -> None:
        for app in self._some():
            await app.close_a_tab()

    async def tab_crashed(self) -> None:
        for app in self._some():
            await app.crash_a_tab()

    async def asleep(self) -> None:
        for app in self._some():
            await app.sleep(self._rng.uniform(0.5, 3))

    def _some(self) -> list[PageApp]:
        return self._rng.sample(list(self._crowd.devices.values()), 2)


@pytest.mark.parametrize(
    "cycles",
    [
        pytest.param(8, marks=pytest.mark.timeout(1_200)),
        pytest.param(1_000, marks=[pytest.mark.slow, pytest.mark.timeout(7_200)]),
    ],
)
async def test_clients_in_node_live_through_everything(
    cycles: int, dist: Path, tmp_path: Path, rng: Random, base_seed: int
) -> None:
    advertised = {"CECOCHAT_ADVERTISE_HOST": NEAR}
    async with (
        running(tmp_path / "up", advertised) as server,
        network(map(int, server.ports.values())) as net,
        node_process(dist, tmp_path / "apps") as node,
    ):

        async def killed() -> None:
            node.kill()

        crowd = AppCrowd(lambda: server.connect_url, server.secret_file, server.record, node)
        who, chats = ring(USERS, groups=False)
        outside = Outside(server, net, rng)
        faults = Faults(
            rng, outside.server_killed, outside.server_drained, outside.network_cut, killed
        )
        async with crowd.connected(who, chats):
            apps = crowd.devices.values()
            async with flowing(list(apps), RATE_PER_S, rng):
                for cycle in range(cycles):
                    await asyncio.sleep(rng.uniform(0.3, 2))  # any moment: few are back by then,
                    await volley(apps, rng)
                    await faults.next()
                    if cycle % FAULTS_IN_A_ROW == FAULTS_IN_A_ROW - 1:
                        await all_back(apps)  # but all of them now and then
                    tell_progress(cycle, cycles)
            found = await crowd.settle(within_s=60)
    figures = {"seed": base_seed, **faults.happened, **counted(crowd.record), "found": len(found)}
    print(write(f"typescript-node-{cycles}", figures))
    assert found == []
    assert all(app.ends >= cycles // FAULTS_IN_A_ROW for app in apps), "somebody noticed nothing"


def tell_progress(cycle: int, cycles: int) -> None:
    if (cycle + 1) % 25 == 0:
        print(f"{cycle + 1} of {cycles} faults", flush=True)


async def all_back(apps: Collection[App]) -> None:
    """Everybody is caught up, and stays so for a while: the last fault has been noticed."""
    for _ in range(20):
        await eventually(lambda: all(app.caught_up.is_set() for app in apps), WITHIN_S)
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    "cycles",
    [
        pytest.param(8, marks=pytest.mark.timeout(1_200)),
        pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(7_200)]),
    ],
)
async def test_chat_pages_live_through_everything(
    cycles: int, chromium: Browser, tmp_path: Path, rng: Random, base_seed: int
) -> None:
    """What people see at the end is the history, in its order, in every tab; and so is what their
    browsers have stored.
    """
    advertised = {"CECOCHAT_ADVERTISE_HOST": NEAR}
    async with (
        running(tmp_path / "up", advertised) as server,
        network(map(int, server.ports.values())) as net,
    ):
        crowd = PageCrowd(lambda: server.connect_url, server.secret_file, server.record, chromium)
        who, chats = ring(PEOPLE, groups=False)
        who = [each for each in who if each.device == "phone"]
        outside, inside = Outside(server, net, rng), Inside(crowd, rng)
        faults = Faults(
            rng, outside.server_killed, outside.server_drained, outside.network_cut,
            inside.offline, inside.reloaded, inside.tab_closed, inside.tab_crashed, inside.asleep,
        )  # fmt: skip
        async with crowd.connected(who, chats):
            apps = crowd.devices.values()
            async with flowing(list(apps), TYPED_PER_S, rng):
                for cycle in range(cycles):
                    await asyncio.sleep(rng.uniform(0.5, 2))
                    await faults.next()
                    tell_progress(cycle, cycles)
            await crowd.come_to_rest()
            wrong = await crowd.look()
            found = await crowd.settle(within_s=60)
            violations = [each for app in apps for each in app.violations]
    figures = {"seed": base_seed, **faults.happened, **counted(crowd.record), "found": len(found)}
    print(write(f"typescript-pages-{cycles}", figures))
    assert wrong == []
    assert found == []
    assert violations == []


def counted(record: Record) -> dict[str, int]:
    kinds = Counter(type(entry.what).__name__.lower() for entry in record)
    return {kind: kinds[kind] for kind in ("sent", "acked", "delivered", "closed")}
