"""The alerts on a cluster: silent while nothing is wrong, and each there under its fault.

Their rules and their real `for` are tried by promtool, in tests/unit/test_rules.py. Here servers
that run show that each rule finds its metric; time runs faster: see tests/support/prometheus.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest

from scripts.backends import promtool
from scripts.backends.launch import Backend
from tests.faults.test_cluster import talking
from tests.support.backends import Backends
from tests.support.eventually import eventually
from tests.support.faults import OF_A_CLUSTER, OF_ONE_MACHINE, Fault, On, reading
from tests.support.processes import processes
from tests.support.prometheus import Prometheus, watching
from tests.support.scene import COUNTS, PARTITIONS, RETENTION_MS, Scene
from tests.support.server import Server

OF_A_SLOW_MACHINE = {"EventLoopLate", "MessagesLate"}
"""How fast a machine is judges no test, and here they do not wait for minutes."""


@pytest.fixture
def program(backends: Backends) -> str:
    there = promtool.prometheus_here()
    if there is None:
        backends.absent("promtool")
    return there


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_alerts_are_silent_in_peace_and_fire_under_their_faults(
    real: Mapping[str, Backend],
    on_real: dict[str, str],
    program: str,
    tmp_path: Path,
    rng: Random,
) -> None:
    sizes = {"CECOCHAT_PARTITIONS": f"{PARTITIONS}", "CECOCHAT_RETENTION_MS": f"{RETENTION_MS}"}
    servers = processes(tmp_path, on_real | sizes, COUNTS)
    async with servers as cluster, talking(cluster, rng) as crowd:
        scene = Scene(cluster, crowd, real)
        await scene.cluster.until_owned()  # a start may take longer than a takeover should
        count = len(cluster.servers)
        async with (
            reading(scene),
            watching(program, tmp_path / "prometheus", on_real, count) as prometheus,
        ):
            await peace(prometheus, lasts_s=20)
            for fault in OF_A_CLUSTER:
                await fires(prometheus, fault, scene)


@pytest.mark.timeout(300)
async def test_alerts_of_servers_that_something_runs_fire_under_their_faults(
    on_real: dict[str, str], program: str, tmp_path: Path
) -> None:
    counts = ("messaging", "materialize", "history", "connect", "control")
    words = [word for each in counts for word in ("--servers", f"{each}=1")]
    up = Server(tmp_path, on_real, words=("--processes", *words))
    try:
        await up.start()
        async with watching(
            program, tmp_path / "prometheus", on_real, len(up.ready["processes"])
        ) as prometheus:
            await peace(prometheus, lasts_s=5)
            for fault in OF_ONE_MACHINE:
                await fires(prometheus, fault, up)
    finally:
        await up.release()


async def peace(prometheus: Prometheus, lasts_s: int) -> None:
    """Silence, from when it has seen the servers for some time."""

    async def quiet() -> bool:
        return await prometheus.firing() <= OF_A_SLOW_MACHINE

    await eventually(quiet, within_s=60, every_s=0.5)
    for _ in range(lasts_s):
        assert await prometheus.firing() <= OF_A_SLOW_MACHINE
        await asyncio.sleep(1)


async def fires(prometheus: Prometheus, fault: Fault[On], on: On) -> None:
    """Under it, and not before, as far as the machine is fast enough to show that."""
    loop = asyncio.get_running_loop()
    await prometheus.until_silent(*set(fault.alerts) - OF_A_SLOW_MACHINE)
    begun_s = loop.time()
    async with fault.bring(on):
        await prometheus.until_firing(*fault.alerts)
        took_s = loop.time() - begun_s
    mended_s = loop.time() - begun_s - took_s
    print(f"{', '.join(fault.alerts)}: {took_s:.1f} s, then mended in {mended_s:.1f} s")
