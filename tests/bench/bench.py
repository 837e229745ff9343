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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.bench import (
    apps,
    cluster,
    density,
    edge,
    floods,
    floor,
    groups,
    layers,
    notifying,
    presence,
    traces,
)
from tests.bench.floor import Beside, beside, relayed
from tests.bench.generate import Failed
from tests.bench.generate import generate as generator
from tests.bench.table import table
from tests.support.results import ROOT, where, write
from tests.support.server import Server, running, started

SESSIONS = {"sessions.max_per_server": 10_000}
LOG_MESSAGES = 50_000
LOOKS_AFTER_S, LOOKS_S = 7, 8
"""When a profile begins in a run, once all have connected, and how long it takes."""
FAST = {"--seconds": "3", "--warm-up": "1"}

FLOWS: dict[str, list[str]] = {
    "closed, 1 in flight, 256 B": ["closed", "--window", "1", "--frame", "1"],
    "closed, 16 in flight, 1 a frame, 256 B": ["closed", "--window", "16", "--frame", "1"],
    "closed, 16 in flight, 16 a frame, 256 B": ["closed", "--window", "16", "--frame", "16"],
    "open, 100/s, 256 B": ["open", "--rate", "100"],
    "open, 500/s, 256 B": ["open", "--rate", "500"],
    "open, 2,000/s, 256 B": ["open", "--rate", "2000"],
}
"""Workloads that stand between two runs of the bare relay."""
WORKLOADS: dict[str, list[str]] = {
    "closed, 1 in flight, real texts": ["closed", "--window", "1", "--texts", "real"],
    "closed, 16 in flight, real texts": ["closed", "--window", "16", "--texts", "real"],
    "open, 500/s, real texts": ["open", "--rate", "500", "--texts", "real"],
    "2,000 idle connections": ["idle", "--count", "2000"],
    "2,000 idle WebSockets": ["idle", "--count", "2000", "--transport", "websocket"],
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


async def measured_beside(arguments: argparse.Namespace) -> dict[str, Beside]:
    """Each flow over each transport, with the bare relay before and after."""
    extra = [word for item in FAST.items() for word in item] if arguments.fast else []
    found: dict[str, Beside] = {}
    await _configured(arguments.folder / "fresh")
    for transport in arguments.transports.split(","):
        for flow, words in FLOWS.items():
            name = f"{flow}, {transport}"
            if arguments.only not in name:
                continue
            print(f"{name} ...", file=sys.stderr, flush=True)
            found[name] = await _beside(arguments, transport, [*words, *extra])
    return found


async def _beside(arguments: argparse.Namespace, transport: str, words: list[str]) -> Beside:
    fresh, folder = arguments.folder / "fresh", arguments.folder / "beside"

    async def system() -> dict[str, Any]:
        _copied(fresh, folder)
        async with started(Server(folder)) as server:
            return await generate(server, [*words, "--transport", transport])

    async def relay() -> dict[str, Any]:
        return await relayed(folder, transport, words)

    rate = float(words[words.index("--rate") + 1]) if "--rate" in words else 0
    return await beside(arguments.rounds, system, relay, rate)


async def layered(arguments: argparse.Namespace) -> None:
    """Print what each layer takes of a message in the closed loops."""
    found = {}
    await _configured(arguments.folder / "fresh")
    for transport in arguments.transports.split(","):
        for flow, words in FLOWS.items():
            if words[0] == "closed" and arguments.only in flow:
                loaded = [*words, "--transport", transport, "--seconds", "14"]
                found[f"{flow}, {transport}"] = await _looked_at(arguments, loaded)
    print(layers.table(found, floor.COST))
    print(write("bench-layers", found))


async def _looked_at(
    arguments: argparse.Namespace, words: list[str]
) -> tuple[dict[str, float], dict[str, Any]]:
    """The shares of the layers; and the figures of another run, in which nobody looks."""
    folder: Path = arguments.folder / "layers"
    found: list[dict[str, Any]] = []
    share: dict[str, float] = {}
    for looks in (False, True):
        _copied(arguments.folder / "fresh", folder)
        async with started(Server(folder)) as server, asyncio.TaskGroup() as group:
            run = group.create_task(generate(server, words))
            if looks:
                await asyncio.sleep(LOOKS_AFTER_S)
                share = await layers.recorded(server.pid, LOOKS_S, folder / "raw")
            found.append(await run)
    return share, found[0]


def _copied(fresh: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(fresh, folder)


async def _configured(folder: Path) -> None:
    """Leave a system there that has stopped: to copy it is quicker than to configure each anew."""
    shutil.rmtree(folder, ignore_errors=True)
    async with running(folder, configuration=SESSIONS) as server:
        await server.terminate()


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


def ratios(found: Mapping[str, Beside], arguments: argparse.Namespace) -> None:
    """Print them, and store or judge them. The exit code is 1 if one is too bad."""
    print(floor.table(found))
    print(write("bench-floor", {name: each._asdict() for name, each in found.items()}))
    measured = {name: each.ratio for name, each in found.items()}
    if arguments.keep:
        floor.keep(measured)
    if arguments.check and (worse := floor.regressions(measured)):
        raise SystemExit("\n".join(["worse by more than a fifth:", *worse]))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="workloads whose name holds this")
    parser.add_argument("--backends", choices=["embedded", "real"], default="embedded")
    parser.add_argument("--fast", action="store_true", help="3 s a workload: a look, no figure")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "bench", help="for data")
    parser.add_argument("--json", action="store_true", help="print the JSON too")
    parser.add_argument("--traces", type=int, metavar="ROUNDS", help="what traces cost, only")
    parser.add_argument("--edge", type=int, metavar="ROUNDS", help="what the edge costs, only")
    parser.add_argument("--floods", type=int, metavar="ROUNDS", help="what floods do to others")
    parser.add_argument("--notifying", type=int, metavar="ROUNDS", help="a back end sends")
    parser.add_argument("--apps", type=int, metavar="ROUNDS", help="what an app does to others")
    parser.add_argument("--presence", type=int, metavar="ROUNDS", help="who comes and goes")
    parser.add_argument("--groups", type=int, metavar="ROUNDS", help="groups beside dialogs")
    parser.add_argument("--density", type=int, default=0, metavar="DEVICES", help="idle, only")
    parser.add_argument("--minutes", type=int, default=10, help="how long they are idle")
    parser.add_argument("--storm", type=int, default=0, metavar="DEVICES", help="come back, only")
    parser.add_argument("--layers", action="store_true", help="profile by py-spy, only")
    parser.add_argument("--transports", help="beside the relay; grpc, or both to judge and store")
    parser.add_argument("--rounds", type=int, help="beside the relay; 1, or 5 to judge and store")
    parser.add_argument("--check", action="store_true", help="compare with tests/bench/ratios.json")
    parser.add_argument("--keep", action="store_true", help="write tests/bench/ratios.json")
    arguments = parser.parse_args()
    judges = arguments.check or arguments.keep
    arguments.rounds = arguments.rounds or (5 if judges else 1)
    arguments.transports = arguments.transports or ("grpc,websocket" if judges else "grpc")
    return arguments


def main() -> None:
    arguments = parsed()
    if arguments.traces:
        in_turns("bench-traces", traces.main(arguments.traces))
        return
    if arguments.layers:
        asyncio.run(layered(arguments))
        return
    if arguments.edge:
        in_turns("bench-edge", edge.main(arguments.edge))
        return
    if arguments.apps:
        in_turns("bench-apps", apps.main(arguments.apps))
        return
    if arguments.notifying:
        in_turns("bench-notifying", notifying.main(arguments.notifying))
        return
    if arguments.presence:
        in_turns("bench-presence", presence.main(arguments.presence))
        return
    if arguments.groups:
        in_turns("bench-groups", groups.main(arguments.groups))
        return
    if arguments.floods:
        in_turns("bench-floods", floods.main(arguments.floods, arguments.only))
        return
    if arguments.density or arguments.storm:
        found = density.main(arguments.density, arguments.minutes, arguments.storm)
        in_turns("bench-density", found)
        return
    real = arguments.backends == "real"
    flows = {} if real else asyncio.run(measured_beside(arguments))
    if flows or arguments.check:
        ratios(flows, arguments)
    if arguments.check or arguments.keep:
        return
    found = asyncio.run(measured_on_real(arguments) if real else measured(arguments))
    found = {name: each.system for name, each in flows.items()} | found
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
