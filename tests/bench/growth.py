"""What a message costs as servers and partitions grow, and what they cost while nobody talks, on
Kafka, Cassandra, Redis and Consul of its own: `python -m tests.bench.growth [ROUNDS [RATE]]`.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from scripts.backends.launch import Backend
from tests.bench.generate import generate
from tests.bench.meter import cpu_s, rss_bytes
from tests.bench.table import aligned
from tests.support.backends import Backends
from tests.support.outages import environment, own_backends
from tests.support.processes import Processes, processes

SERVERS = (1, 2, 4)
PARTITIONS = (12, 64, 256)
OTHERS = {"control": 1, "materialize": 1, "history": 1, "connect": 1}
KINDS = ("messaging", "materialize", "history", "connect", "control", "kafka")
SETTLED_S = 10.0  # after the start: takeovers, and what reads ahead
IDLE_S = 20.0
RATE = "500"
SECONDS = ["--seconds", "15", "--warm-up", "4"]
WARMING = ["closed", "--window", "1", "--seconds", "30"]


class Shape(NamedTuple):
    """How many messaging servers there are, and how many partitions."""

    servers: int
    partitions: int


class Figures(NamedTuple):
    """By kind of server: percent of a core while nobody talks, CPU-s per 1,000 delivered, and the
    most memory of one server, in MB.
    """

    idle: dict[str, float]
    cost: dict[str, float]
    memory: dict[str, float]
    per_s: float
    p99_ms: float


async def measured(
    folder: Path, backends: Mapping[str, Backend], shape: Shape, rate: str
) -> Figures:
    variables = environment(backends, f"bench_{uuid.uuid4().hex[:8]}") | {
        "CECOCHAT_PARTITIONS": str(shape.partitions)
    }
    counts = OTHERS | {"messaging": shape.servers}
    async with processes(folder, variables, counts) as cluster:
        pids = {kind: [each.pid for each in cluster.of(kind)] for kind in counts}
        pids |= {kind: [each.pid] for kind, each in backends.items() if each.pid}
        await asyncio.sleep(SETTLED_S)
        idle = await resting(pids)
        flow = await talking(cluster, pids, ["open", "--rate", rate, *SECONDS])
        memory = {kind: max(rss_bytes(pid) for pid in pids[kind]) / 1e6 for kind in counts}
    cost = {kind: flow[f"{kind}_cpu_s_per_1000"] for kind in pids}
    return Figures(idle, cost, memory, flow["delivered_per_s"], flow["p99_ms"])


async def resting(pids: Mapping[str, Sequence[int]]) -> dict[str, float]:
    before = {kind: _cpu_s(each) for kind, each in pids.items()}
    await asyncio.sleep(IDLE_S)
    return {kind: (_cpu_s(each) - before[kind]) / IDLE_S * 100 for kind, each in pids.items()}


def _cpu_s(pids: Sequence[int]) -> float:
    return sum(cpu_s(pid) for pid in pids)


async def talking(
    cluster: Processes, pids: Mapping[str, Sequence[int]], arguments: Sequence[str]
) -> dict[str, float]:
    return await generate(cluster.connect_url, cluster.secret_file, pids, arguments)


def lines(shape: Shape, rounds: Sequence[Figures]) -> list[list[str]]:
    """Medians: the cost, the rest, the memory."""

    def of(what: str, name: str, digits: int) -> list[str]:
        each = [getattr(figures, what) for figures in rounds]
        medians = [
            f"{statistics.median(kinds[kind] for kinds in each):.{digits}f}"
            if kind in each[0]
            else "-"
            for kind in KINDS
        ]
        return [*map(str, shape), name, *medians]

    return [
        of("cost", "CPU-s per 1,000", 3),
        of("idle", "idle, % of a core", 1),
        of("memory", "MB", 0),
    ]


async def main(rounds: int, rate: str, shapes: Sequence[Shape]) -> None:
    """Print three lines for each shape, after the JVMs were made warm."""
    found: dict[Shape, list[Figures]] = {shape: [] for shape in shapes}
    with (
        tempfile.TemporaryDirectory() as temporary,
        own_backends(Path(temporary) / "backends", Backends(frozenset())) as backends,
    ):
        folder = Path(temporary)
        variables = environment(backends, "warm")
        async with processes(
            Path(tempfile.mkdtemp(dir=folder)), variables, OTHERS | {"messaging": 2}
        ) as cluster:
            await talking(cluster, {}, WARMING)
        for _ in range(rounds):
            for shape in shapes:
                place = Path(tempfile.mkdtemp(dir=folder))
                found[shape].append(await measured(place, backends, shape, rate))
                print(shape, json.dumps(found[shape][-1]._asdict()), file=sys.stderr, flush=True)
    head = ["servers", "partitions", "", *KINDS]
    print(aligned([head, *(row for shape, each in found.items() for row in lines(shape, each))]))


if __name__ == "__main__":
    match sys.argv[1:]:
        case [rounds, rate, *chosen]:
            picked = [Shape(*map(int, each.split("x"))) for each in chosen]
        case arguments:
            rounds, rate, picked = (*arguments, "1")[0], RATE, []
    every = [Shape(servers, partitions) for servers in SERVERS for partitions in PARTITIONS]
    asyncio.run(main(int(rounds), rate, picked or every))
