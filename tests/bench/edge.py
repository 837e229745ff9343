"""What the edge costs: `make bench ARGS="--edge 5"`. Runs take turns: a busy machine hits all."""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.generate import generate
from tests.support.backends import Backends
from tests.support.certificates import certificates
from tests.support.edge import edge, free_address
from tests.support.server import Server, running

SESSIONS = {"sessions.max_per_server": 10_000}
WIDE = {
    "CECOCHAT_EDGE_CONNECTIONS_PER_ADDRESS": "10000",
    "CECOCHAT_EDGE_REQUESTS_PER_ADDRESS": "10000",
}
WAYS = ("no edge", "edge", "edge with TLS")
TIME = ["--seconds", "8", "--warm-up", "3"]
LOADS = {
    "1 in flight": ["closed", "--window", "1", *TIME],
    "16 in flight": ["closed", "--window", "16", *TIME],
    "open, 500/s": ["open", "--rate", "500", *TIME],
}
KEPT = ("server_cpu_s_per_1000", "edge_cpu_s_per_1000", "delivered_per_s", "p50_ms", "p99_ms")

Figures = dict[str, dict[str, Any]]


class Way(NamedTuple):
    """A system, and how its clients come to it."""

    server: Server
    pids: dict[str, list[int]]
    words: list[str]  # more of the generator's command line


async def measured(folder: Path, rounds: int) -> Figures:
    """The median of each figure over the rounds."""
    found: dict[str, list[dict[str, Any]]] = {}
    for turn in range(rounds):
        for way in WAYS if turn % 2 else reversed(WAYS):
            print(f"round {turn + 1} of {rounds}: {way} ...", file=sys.stderr, flush=True)
            async with _up(folder / f"{turn} {way}", way) as up:
                for name, load in LOADS.items():
                    figures = await generate(
                        up.server.connect_url, up.server.secret_file, up.pids, [*load, *up.words]
                    )
                    found.setdefault(f"{name}, {way}", []).append(figures)
    return {
        name: {
            figure: round(statistics.median(run[figure] for run in runs), 4)
            for figure in KEPT
            if figure in runs[0]
        }
        for name, runs in sorted(found.items())
    }


@asynccontextmanager
async def _up(folder: Path, way: str) -> AsyncIterator[Way]:
    if way == "no edge":
        async with running(folder, configuration=SESSIONS) as server:
            yield Way(server, {"server": [server.pid]}, [])
        return
    signed, address = certificates(folder), free_address()
    pair = signed.cert_file.with_name("edge.pem")
    pair.write_text(signed.cert_file.read_text() + signed.key_file.read_text())
    tls = way == "edge with TLS"
    settings = {**WIDE, "CECOCHAT_EDGE": address}
    settings |= {"CECOCHAT_EDGE_CERT_FILE": str(pair)} if tls else {}
    required = Backends(frozenset({"haproxy"}))
    async with (
        running(folder / "server", settings, SESSIONS) as server,
        edge(address, folder, required, {**settings, **server.ports}) as front,
    ):
        pids = {"server": [server.pid], "edge": front.pids}
        yield Way(server, pids, ["--ca-file", str(signed.ca_file)] if tls else [])


def main(rounds: int) -> Figures:
    """See `measured`."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(measured(Path(folder), rounds))
