"""What others wait while somebody floods, with a token or without: `make bench ARGS="--floods 5"`.
Quiet and flooded take turns in one run: a busy machine hits both.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from itertools import count, repeat
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from cecochat.client import connect
from cecochat.v1.history_pb2 import GetChatsRequest
from tests.bench.meter import Meter, forget_peak, peak_bytes, percentiles_ms, rss_bytes
from tests.bench.pairs import Pair, open_pairs
from tests.bench.wire import Door
from tests.hostile.flooding import KINDS, SEARCHED, VICTIM
from tests.support.rawclient import find, mint
from tests.support.server import Server, started

OTHERS = 16  # pairs of users
EVERY_S = 0.1  # somebody looks up, and somebody asks for the chats
SAYS_EVERY_S = 0.4  # each pair, by far below what a user may
SECONDS = 6.0
BEGINS_S = 2.0  # until the flood runs
OVER_S = 3.0  # until the one before is forgotten
TEXT = "x" * 256
LONG = 60  # messages of 16 KB

Figures = dict[str, dict[str, float]]


class Others(NamedTuple):
    """People who do little."""

    door: Door
    history: grpc.aio.Channel
    pairs: list[Pair]
    meter: Meter
    names: Iterable[int]

    async def waited(self, seconds: float) -> dict[str, float]:
        """The p99 of what they wait for, ms."""
        took: dict[str, list[float]] = {"message": self.meter.taken_s, "lookup": [], "query": []}
        self.meter.taken_s.clear()
        self.meter.counting = True
        until_s = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for number, pair in enumerate(self.pairs):
                group.create_task(_says(pair, number, until_s))
            group.create_task(_timed(self._look_up, until_s, took["lookup"]))
            group.create_task(_timed(self._ask, until_s, took["query"]))
        self.meter.counting = False
        return {what: percentiles_ms(seen)["p99_ms"] for what, seen in took.items()}

    def _token(self) -> str:
        """Of somebody who has not been here yet."""
        return mint(self.door.secret_file, f"other{next(iter(self.names))}")

    async def _look_up(self) -> None:
        await find(self.door.connect_url, self._token())

    async def _ask(self) -> None:
        method: Any = self.history.unary_unary("/cecochat.v1.History/GetChats")
        await method(
            GetChatsRequest().SerializeToString(),
            metadata=(("authorization", f"Bearer {self._token()}"),),
            timeout=30,
        )


async def _says(pair: Pair, number: int, until_s: float) -> None:
    await asyncio.sleep(SAYS_EVERY_S * number / OTHERS)
    while time.monotonic() < until_s:
        pair.offer(time.perf_counter())
        await asyncio.sleep(SAYS_EVERY_S)


async def _timed(one: Callable[[], Awaitable[None]], until_s: float, took: list[float]) -> None:
    while time.monotonic() < until_s:
        begun_s = time.perf_counter()
        await one()
        took.append(time.perf_counter() - begun_s)
        await asyncio.sleep(EVERY_S)


async def quiet_and_flooded(folder: Path, rounds: int, only: str = "") -> Figures:
    """For each kind of flood, the medians over the rounds."""
    kinds = [kind for kind in KINDS if only in kind]
    found: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    async with started(Server(folder)) as server:
        await _long_messages(server)
        door, meter = Door(server.connect_url, server.secret_file), Meter({"server": [server.pid]})
        pairs = await open_pairs(door, OTHERS, repeat(TEXT), meter)
        async with grpc.aio.insecure_channel(server.ready["history"]) as history:
            others = Others(door, history, pairs, meter, count())
            running = [asyncio.create_task(pair.run()) for pair in pairs]
            for turn in range(rounds):
                for kind in kinds:
                    print(f"round {turn + 1} of {rounds}: {kind} ...", file=sys.stderr, flush=True)
                    found[kind].append(await _both(server, others, kind))
            for task in running:
                task.cancel()
    return {kind: medians(runs) for kind, runs in found.items()}


async def _long_messages(server: Server) -> None:
    """More than a page of them, for those who ask for pages."""
    for kind in ("unread answers", "GetMessages"):
        token = mint(server.secret_file, _user(kind))
        async with connect(server.connect_url, token) as client:
            for _ in range(LONG):
                await client.send(VICTIM, "x" * (16 << 10))
    async with connect(server.connect_url, mint(server.secret_file, "SearchMessages")) as client:
        for _ in range(LONG):
            await client.send(VICTIM, f"{SEARCHED} and much else")


def _user(kind: str) -> str:
    """One for each kind, who has not used up yet what the next one needs."""
    return kind.replace(",", "").replace(" ", "-")


async def _both(server: Server, others: Others, kind: str) -> dict[str, float]:
    await asyncio.sleep(OVER_S)
    quiet = await others.waited(SECONDS)
    seconds, before_bytes = BEGINS_S + SECONDS, rss_bytes(server.pid)
    forget_peak(server.pid)
    flood = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.hostile.flooding", kind, json.dumps(server.ready),
        "--user", _user(kind), "--token", mint(server.secret_file, _user(kind)),
        "--seconds", str(seconds),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    await asyncio.sleep(BEGINS_S)
    flooded = await others.waited(SECONDS)
    out, _ = await flood.communicate()
    figures = {"flood_per_s": int(out) / seconds}
    for what, before in quiet.items():
        figures |= {f"{what}_p99_ms": flooded[what], f"{what}_ratio": flooded[what] / before}
    memory = {"before_mib": before_bytes, "most_mib": peak_bytes(server.pid)}
    return figures | {name: found / (1 << 20) for name, found in memory.items()}


async def quiet_and_busy(
    folder: Path, rounds: int, both: Callable[[Server, Others, int], Awaitable[dict[str, float]]]
) -> dict[str, float]:
    """The medians over the rounds of what `both` finds in each, by its number."""
    found: list[dict[str, float]] = []
    async with started(Server(folder)) as server:
        door, meter = Door(server.connect_url, server.secret_file), Meter({"server": [server.pid]})
        pairs = await open_pairs(door, OTHERS, repeat(TEXT), meter)
        async with grpc.aio.insecure_channel(server.ready["history"]) as history:
            others = Others(door, history, pairs, meter, count())
            running = [asyncio.create_task(pair.run()) for pair in pairs]
            for turn in range(rounds):
                print(f"round {turn + 1} of {rounds} ...", file=sys.stderr, flush=True)
                found.append(await both(server, others, turn))
            for task in running:
                task.cancel()
    return medians(found)


def medians(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Return the median of each figure."""
    return {name: round(statistics.median(run[name] for run in runs), 2) for name in runs[0]}


def main(rounds: int, only: str = "") -> Figures:
    """On a fresh server, with the limits that it comes with."""
    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(quiet_and_flooded(Path(folder), rounds, only))
