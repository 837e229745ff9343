"""`python -m tests.bench --backends real`: a cluster of processes on Kafka, Cassandra, Redis and
Consul of its own, all on this machine with the generator.

2 messaging, 2 materialize, 2 history servers, 1 connect and 1 control.
"""

from __future__ import annotations

import asyncio
import sys
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cecochat.adapters import build
from cecochat.ports.backplane import MESSAGES
from cecochat.settings.settings import load
from scripts.backends.launch import Backend
from tests.bench.generate import generate as generator
from tests.support.backends import Backends
from tests.support.eventually import eventually
from tests.support.outages import environment, own_backends
from tests.support.processes import COUNTS, Processes, processes

BACKLOG = 100_000
PAGES = 2_000
MATERIALIZED_WITHIN_S = 600

WORKLOADS: dict[str, list[str]] = {
    "open, 500/s, 256 B": ["open", "--rate", "500"],
    "open, 500/s, real texts": ["open", "--rate", "500", "--texts", "real"],
    "open, 1,000/s, 256 B": ["open", "--rate", "1000"],
    "closed, 1 in flight, 256 B": ["closed", "--window", "1"],
    "closed, 16 in flight, 256 B": ["closed", "--window", "16"],
    "history page of 50": ["pages", "--count", str(PAGES)],
}
WARM_UP = "the JVMs of Kafka and Cassandra compile"
WARMING = ["closed", "--window", "1", "--seconds", "40"]
BACKLOGGED = f"materialize a backlog of {BACKLOG:,}"


async def measured(folder: Path, only: str, extra: list[str]) -> dict[str, dict[str, Any]]:
    """The figures of each workload that is asked for, on a system of its own."""
    found: dict[str, dict[str, Any]] = {}
    with own_backends(folder / "backends", Backends(frozenset())) as backends:
        for name in [WARM_UP, *WORKLOADS, BACKLOGGED]:
            if name != WARM_UP and only not in name:
                continue
            print(f"{name} ...", file=sys.stderr, flush=True)
            variables = environment(backends, f"bench_{uuid.uuid4().hex[:8]}")
            place = folder / f"{len(found)}"
            place.mkdir(parents=True)
            try:
                async with processes(place, variables) as cluster:
                    found[name] = await workload(name, cluster, backends, extra)
            except Exception as failed:  # noqa: BLE001 - the others are measured
                found[name] = {"failed": repr(failed)}
    if "failed" not in found[WARM_UP]:
        del found[WARM_UP]
    return found


async def workload(
    name: str, cluster: Processes, backends: Mapping[str, Backend], extra: list[str]
) -> dict[str, Any]:
    if name == BACKLOGGED:
        return await backlog(cluster)
    if name == WARM_UP:
        return await generate(cluster, [*WARMING, *extra], {})
    arguments = [*WORKLOADS[name], *extra]
    pids = {service: [each.pid for each in cluster.of(service)] for service in COUNTS}
    pids |= {kind: [each.pid] for kind, each in backends.items() if each.pid}
    if name.startswith("history"):
        return await generate(cluster, arguments, {"server": pids["history"]})
    async with lag(cluster) as lags:
        figures = await generate(cluster, arguments, pids)
    return figures | {"materialize_lag_max_records": max(lags)}


async def generate(
    cluster: Processes, arguments: list[str], pids: Mapping[str, list[int]]
) -> dict[str, Any]:
    return await generator(cluster.connect_url, cluster.secret_file, pids, arguments)


async def backlog(cluster: Processes) -> dict[str, Any]:
    """What was sent while no materialize server ran, until the history has all of it."""
    workers = cluster.of("materialize")
    for worker in workers:
        await worker.terminate()
    filled = await generate(cluster, ["fill", "--count", str(BACKLOG)], {})
    behind = await behind_by(cluster)
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for worker in workers:
            group.create_task(worker.start())
    started = time.perf_counter()

    async def done() -> bool:
        return await behind_by(cluster) == 0

    await eventually(done, MATERIALIZED_WITHIN_S, every_s=0.5)
    took_s = time.perf_counter() - began
    return {
        **filled,
        "records_behind": behind,
        "start_s": round(started - began, 1),
        "materialized_s": round(took_s, 1),
        "materialized_per_s": round(filled["messages"] / took_s, 1),
    }


async def behind_by(cluster: Processes) -> int:
    """Records that the group `materialize` has not committed: origins, copies and the rest."""
    async with build.backplane(load(cluster.environment)) as log:
        behind = 0
        for partition in range(await log.partition_count()):
            _, end = await log.bounds(MESSAGES, partition)
            committed = await log.committed("materialize", MESSAGES, partition)
            behind += end - (committed.offset if committed else 0)
        return behind


@asynccontextmanager
async def lag(cluster: Processes) -> AsyncIterator[list[int]]:
    """How many records materialize was behind, looked at now and then while inside."""
    seen = [0]

    async def look() -> None:
        while True:
            await asyncio.sleep(5)
            seen.append(await behind_by(cluster))

    async with asyncio.TaskGroup() as group:
        task = group.create_task(look())
        yield seen
        task.cancel()
