"""`python -m tests.bench.bench`: every workload on a fresh server, a table, and JSON.

The server and the load generator are processes of their own. Everything is durable: the log is
committed with `synchronous=FULL` and the history is written, as always.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.bench import cluster, edge, floods, traces
from tests.bench.generate import Failed
from tests.bench.generate import generate as generator
from tests.bench.table import table
from tests.support.results import ROOT, where, write
from tests.support.server import Server, running

SESSIONS = {"sessions.max_per_server": 10_000}
LOG_MESSAGES = 50_000
FAST = {"--seconds": "3", "--warm-up": "1"}

WORKLOADS: dict[str, list[str]] = {
    "closed, 1 in flight, 256 B": ["closed", "--window", "1"],
    "closed, 16 in flight, 256 B": ["closed", "--window", "16"],
    "closed, 1 in flight, real texts": ["closed", "--window", "1", "--texts", "real"],
    "closed, 16 in flight, real texts": ["closed", "--window", "16", "--texts", "real"],
    "open, 500/s, 256 B": ["open", "--rate", "500"],
    "open, 500/s, real texts": ["open", "--rate", "500", "--texts", "real"],
    "2,000 idle connections": ["idle", "--count", "2000"],
    "history page of 50": ["pages", "--count", "2000"],
}
RESTART = "restart with 50,000 messages"


async def generate(server: Server, arguments: list[str]) -> dict[str, Any]:
    """Run the generator to its end; its figures. Raises `Failed`."""
    try:
        return await generator(
            server.connect_url, server.secret_file, {"server": [server.pid]}, arguments
        )
    except Failed as failed:
        raise Failed(f"{failed}; the server said: {server.said[-3_000:]}") from failed


async def restart(folder: Path) -> dict[str, Any]:
    """From the start of the process to its ready line, after a kill and after a drain."""
    async with running(folder, configuration=SESSIONS) as server:
        empty_s = server.started_in_s
        filled = await generate(server, ["fill", "--count", str(LOG_MESSAGES)])
        await server.kill()
        await server.start()
        killed_s = server.started_in_s
        await server.terminate()
        await server.start()
        return {
            **filled,
            "ready_s_empty": round(empty_s, 3),
            "ready_s_after_kill": round(killed_s, 3),
            "ready_s_after_drain": round(server.started_in_s, 3),
        }


async def measured(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    extra = [word for item in FAST.items() for word in item] if arguments.fast else []
    for name in chosen(arguments.only):
        folder = arguments.folder / f"{len(found)}"
        shutil.rmtree(folder, ignore_errors=True)
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            found[name] = await workload(name, folder, extra)
        except Failed as failed:
            found[name] = {"failed": str(failed)}
        shutil.rmtree(folder, ignore_errors=True)
    return found


async def measured_on_real(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    extra = [word for item in FAST.items() for word in item] if arguments.fast else []
    with tempfile.TemporaryDirectory() as folder:
        return await cluster.measured(Path(folder), arguments.only, extra)


async def workload(name: str, folder: Path, extra: list[str]) -> dict[str, Any]:
    if name == RESTART:
        return await restart(folder)
    async with running(folder, configuration=SESSIONS) as server:
        return await generate(server, [*WORKLOADS[name], *extra])


def chosen(only: str) -> Iterator[str]:
    return (name for name in [*WORKLOADS, RESTART] if only in name)


def in_turns(name: str, found: dict[str, dict[str, Any]]) -> None:
    print("\n".join(f"{each}: {figures}" for each, figures in found.items()))
    print(write(name, found))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="workloads whose name holds this")
    parser.add_argument("--backends", choices=["embedded", "real"], default="embedded")
    parser.add_argument("--fast", action="store_true", help="3 s a workload: a look, no figure")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "bench", help="for data")
    parser.add_argument("--json", action="store_true", help="print the JSON too")
    parser.add_argument("--traces", type=int, metavar="ROUNDS", help="what traces cost, only")
    parser.add_argument("--edge", type=int, metavar="ROUNDS", help="what the edge costs, only")
    parser.add_argument("--floods", type=int, metavar="ROUNDS", help="what floods do to others")
    arguments = parser.parse_args()
    if arguments.traces:
        in_turns("bench-traces", traces.main(arguments.traces))
        return
    if arguments.edge:
        in_turns("bench-edge", edge.main(arguments.edge))
        return
    if arguments.floods:
        in_turns("bench-floods", floods.main(arguments.floods, arguments.only))
        return
    real = arguments.backends == "real"
    found = asyncio.run(measured_on_real(arguments) if real else measured(arguments))
    print(table(found, where(), real=real))
    whole = not arguments.only and not arguments.fast
    name = "bench-real" if real else "bench"
    file = write(name if whole else f"{name}-part", found)
    print(f"\n{file}")
    if arguments.json:
        print(file.read_text())
    if any("failed" in figures for figures in found.values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
