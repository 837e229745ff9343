"""What clients pay for a message, and what the server does, in Python over each transport and in
TypeScript on Node:

    python -m tests.bench.client [PAIRS [ROUNDS]]

In each pair one sends and another listens; the clients of a run share a process. The ways take
turns, so that what else the machine does falls on all of them; the least of the rounds counts.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cecochat.client import Client, Message, connect
from scripts.protos import TYPESCRIPT
from tests.bench.meter import cpu_s
from tests.bench.table import aligned
from tests.support import npm
from tests.support.pipes import TransportName
from tests.support.rawclient import mint
from tests.support.server import Server, running

PAIRS, ROUNDS = 1, 3
MESSAGES = 2_000
WINDOWS = (1, 16)
TEXT = "x" * 256
SCRIPT = Path("dist/test/pace.js")


class Pair(NamedTuple):
    """The tokens of who sends and who listens, and the name of the latter."""

    tokens: tuple[str, str]
    to: str


class Run(NamedTuple):
    """`messages` of each pair, of which `window` are unanswered at a time."""

    server: Server
    pairs: list[Pair]
    window: int
    messages: int


class Cost(NamedTuple):
    """`client` and `server`: CPU-s per 1,000 delivered messages."""

    client: float
    server: float
    per_s: float


Way = Callable[[Run], Awaitable[Cost]]


def ways() -> Mapping[str, Way]:
    package = npm.compiled(TYPESCRIPT)
    return {
        "Python, gRPC": partial(in_python, "grpc"),
        "Python, WebSocket": partial(in_python, "websocket"),
        "TypeScript, WebSocket": partial(in_typescript, package),
    }


# -- Python


async def in_python(transport: TransportName, run: Run) -> Cost:
    url = run.server.connect_url
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        clients = [
            (
                await stack.enter_async_context(
                    connect(url, pair.tokens[0], transport=transport, listen=False)
                ),
                await stack.enter_async_context(connect(url, pair.tokens[1], transport=transport)),
            )
            for pair in run.pairs
        ]
        began = _now(run)
        own_s = time.process_time()
        listening = [group.create_task(_listen(each, run)) for _, each in clients]
        for (sender, _), pair in zip(clients, run.pairs, strict=True):
            group.create_task(_send(sender, pair.to, run))
        await asyncio.wait(listening)
        return _cost(run, began, time.process_time() - own_s)


async def _send(client: Client, to: str, run: Run) -> None:
    room = asyncio.Semaphore(run.window)
    for _ in range(run.messages):
        await room.acquire()
        (await client.post(to, TEXT)).add_done_callback(lambda _: room.release())


async def _listen(client: Client, run: Run) -> None:
    left = run.messages
    async for event in client:
        left -= isinstance(event, Message)
        if not left:
            return


# -- TypeScript


async def in_typescript(package: Path, run: Run) -> Cost:
    asked = {
        "url": run.server.connect_url,
        "pairs": [pair._asdict() for pair in run.pairs],
        "window": run.window,
        "messages": run.messages,
        "text": TEXT,
    }
    process = await asyncio.create_subprocess_exec(
        "node", package / SCRIPT, json.dumps(asked), stdin=PIPE, stdout=PIPE
    )
    assert process.stdin
    assert process.stdout
    try:
        await process.stdout.readline()  # it is ready
        began = _now(run)
        process.stdin.write(b"go\n")
        return _cost(run, began, float(await process.stdout.readline()))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


# -- both


def _now(run: Run) -> tuple[float, float]:
    return time.monotonic(), cpu_s(run.server.pid)


def _cost(run: Run, began: tuple[float, float], client_s: float) -> Cost:
    (began_s, before_s), (ended_s, after_s) = began, _now(run)
    messages = run.messages * len(run.pairs)
    thousands = messages / 1_000
    rate = messages / (ended_s - began_s)
    return Cost(client_s / thousands, (after_s - before_s) / thousands, rate)


async def costs(
    server: Server, pairs: int, rounds: int, messages: int = MESSAGES
) -> dict[tuple[int, str], Cost]:
    """(window, way) -> the least that a round has taken of the clients, and of the server."""
    found: dict[tuple[int, str], list[Cost]] = {}
    for turn in range(rounds):
        for window in WINDOWS:
            for number, (name, way) in enumerate(ways().items()):
                those = [_pair(server, f"{turn}-{window}-{number}-{n}") for n in range(pairs)]
                cost = await way(Run(server, those, window, messages))
                found.setdefault((window, name), []).append(cost)
    return {
        key: Cost(
            min(c.client for c in each), min(c.server for c in each), max(c.per_s for c in each)
        )
        for key, each in found.items()
    }


def _pair(server: Server, name: str) -> Pair:
    one, other = f"one-{name}", f"other-{name}"
    return Pair((mint(server.secret_file, one), mint(server.secret_file, other)), other)


def _times(cost_s: float, base_s: float) -> str:
    """Return a multiple. The CPU of a few messages may be less than the kernel counts."""
    return f"{cost_s / base_s:.2f}" if base_s else "-"


def table(found: dict[tuple[int, str], Cost]) -> str:
    """CPU-s per 1,000 delivered, and as a multiple of Python's over gRPC."""
    rows = [["in flight", "clients", "clients' CPU", "ratio", "server's CPU", "ratio", "per s"]]
    for (window, name), cost in found.items():
        base = found[window, "Python, gRPC"]
        rows.append(
            [
                str(window),
                name,
                f"{cost.client:.3f}",
                _times(cost.client, base.client),
                f"{cost.server:.3f}",
                _times(cost.server, base.server),
                f"{cost.per_s:.0f}",
            ]
        )
    return aligned(rows)


async def main(pairs: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder)) as server:
            print(table(await costs(server, pairs, rounds)))


if __name__ == "__main__":
    given = [int(each) for each in sys.argv[1:]]
    asyncio.run(main(*(given + [PAIRS, ROUNDS][len(given) :])))
