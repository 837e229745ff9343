"""The load generator, a process of its own: `python -m tests.bench.load WORKLOAD ...` prints JSON.

It knows the protos, where the connect server is, and a secret to mint tokens with.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import grpc
import uvloop

from cecochat.v1 import history_pb2
from tests.bench.meter import Meter, cpu_s, percentiles_ms, rss_bytes
from tests.bench.pairs import AS_IT_COMES, Pair, Shape, open_pairs
from tests.bench.streams import STREAMS
from tests.bench.wire import Door, Wire
from tests.support.eventually import eventually
from tests.support.pipes import CONNECTION_OF_ITS_OWN
from tests.support.rawclient import RawHistory, find, mint
from tests.support.records import dialog
from tests.support.texts import real_texts

FILLED_WITHIN_S = 300
PAGE = 50
CHAT_MESSAGES = 5_000
FILL_WINDOW = 64


class Job(argparse.Namespace):
    """The arguments of one run."""

    workload: str
    connect: str
    secret_file: Path
    ca_file: Path | None = None
    server_pid: list[tuple[str, list[int]]]
    seconds: float
    warm_up: float
    texts: str
    pairs: int
    window: int
    frame: int = 0
    rate: float
    count: int
    transport: str = "grpc"
    address: str = ""

    @property
    def pids(self) -> dict[str, list[int]]:
        """Name -> processes; one that has no name is called the server."""
        return dict(self.server_pid)

    @property
    def pid(self) -> int:
        """The one process that a workload is about."""
        return self.server_pid[0][1][0]

    def cpu_s(self) -> float:
        """Of all processes."""
        return sum(cpu_s(pid) for pids in self.pids.values() for pid in pids)

    @property
    def door(self) -> Door:
        return Door(self.connect, self.secret_file, self.ca_file, self.transport, self.address)

    @property
    def shape(self) -> Shape:
        return Shape(self.frame, self.frame) if self.frame else AS_IT_COMES


def texts_named(name: str) -> Iterator[str]:
    """`real`, or a number of bytes."""
    if name == "real":
        shuffled = Random(1).sample(real_texts(), len(real_texts()))
        return itertools.cycle(shuffled)
    return itertools.repeat(("The quick brown fox jumps over the lazy dog. " * 400)[: int(name)])


@asynccontextmanager
async def talking(job: Job, meter: Meter, window: int) -> AsyncIterator[list[Pair]]:
    """Pairs with their loops running."""
    pairs = await open_pairs(job.door, job.pairs, texts_named(job.texts), meter, job.shape)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(pair.run(window)) for pair in pairs]
        yield pairs
        for task in tasks:
            task.cancel()


async def closed(job: Job) -> dict[str, Any]:
    """Each pair keeps `window` messages in flight, as fast as the server lets it."""
    meter = Meter(job.pids)
    async with talking(job, meter, job.window):
        return await meter.measure(job.warm_up, job.seconds)


async def open_loop(job: Job) -> dict[str, Any]:
    """`rate` messages a second over all pairs, whether or not the server keeps up; latency counts
    from the time at which a message was intended to be sent."""
    meter = Meter(job.pids)
    async with talking(job, meter, 0) as pairs, asyncio.TaskGroup() as group:
        pace = group.create_task(_pace(pairs, job.rate))
        figures = await meter.measure(job.warm_up, job.seconds)
        pace.cancel()
        return figures


async def _pace(pairs: list[Pair], rate: float) -> None:
    began = time.perf_counter()
    for number, pair in enumerate(itertools.cycle(pairs)):
        intended = began + number / rate
        if (early_s := intended - time.perf_counter()) > 0:
            await asyncio.sleep(early_s)
        pair.offer(intended)


async def idle(job: Job) -> dict[str, Any]:
    """Memory of `count` sessions that do nothing, on top of a hundred that were there before."""
    names = [f"idle{number}.{time.time_ns():x}" for number in range(job.count + 100)]
    wires = await job.door.wires(names[:100])
    await asyncio.sleep(job.warm_up)
    before = rss_bytes(job.pid)
    wires += await job.door.wires(names[100:])
    await asyncio.sleep(job.warm_up)
    grown = rss_bytes(job.pid) - before
    cpu = cpu_s(job.pid)
    await asyncio.sleep(job.seconds)
    used = cpu_s(job.pid) - cpu
    _close(wires)
    return {
        "connections": job.count,
        "rss_bytes_before": before,
        "rss_bytes_per_connection": grown // job.count,
        "server_cores_while_idle": round(used / job.seconds, 4),
    }


def _close(wires: list[Wire]) -> None:
    for wire in wires:
        wire.close()


async def fill(job: Job) -> dict[str, Any]:
    """Put at least `count` messages into the log, until so many have arrived."""
    meter = Meter(job.pids)
    began = time.perf_counter()
    async with talking(job, meter, FILL_WINDOW) as pairs:
        await eventually(lambda: _completed(pairs) >= job.count, FILLED_WITHIN_S)
        took_s, done = time.perf_counter() - began, _completed(pairs)
    return {"messages": done, "per_s": round(done / took_s, 1)}


def _completed(pairs: list[Pair]) -> int:
    return sum(pair.completed for pair in pairs)


async def pages(job: Job) -> dict[str, Any]:
    """Pages of a chat of 5,000 messages, one at a time: the newest, and from anywhere, in turn."""
    run = f"{time.time_ns():x}"
    one, other = f"one.{run}", f"other.{run}"
    await _fill_one_chat(job, (one, other))
    token = mint(job.secret_file, one)
    route = await find(job.connect, token)
    chat_id = dialog(one, other)
    async with grpc.aio.insecure_channel(route.history, options=CONNECTION_OF_ITS_OWN) as channel:
        history = RawHistory(channel, token)
        ids = [message.message_id for message in await history.whole(chat_id)]
        random = Random(1)
        taken: list[float] = []
        for number in range(job.count + 100):
            request = history_pb2.GetMessagesRequest(chat_id=chat_id, limit=PAGE)
            if number % 2:
                request.before = random.choice(ids[PAGE:])
            if number == 100:
                server, taken = job.cpu_s(), []
            began = time.perf_counter()
            page = await history.page(request)
            taken.append(time.perf_counter() - began)
            if len(page.messages) != PAGE:
                raise ValueError(f"a page of {len(page.messages)}")
    cpu_ms = (job.cpu_s() - server) * 1_000 / job.count
    pages_per_s = round(len(taken) / sum(taken), 1)
    return {
        "pages_per_s": pages_per_s,
        **percentiles_ms(taken),
        "server_cpu_ms_per_page": round(cpu_ms, 3),
    }


async def _fill_one_chat(job: Job, users: tuple[str, str]) -> None:
    first, second = await job.door.wires(users)
    pair = Pair((first, second), dialog(*users), texts_named(job.texts), Meter(job.pids))
    async with asyncio.TaskGroup() as group:
        task = group.create_task(pair.run(FILL_WINDOW))
        await eventually(lambda: pair.completed >= CHAT_MESSAGES, FILLED_WITHIN_S)
        task.cancel()
    _close([first, second])


WORKLOADS: dict[str, Callable[[Job], Awaitable[dict[str, Any]]]] = {
    "closed": closed,
    "open": open_loop,
    "idle": idle,
    "fill": fill,
    "pages": pages,
}


def _pids(text: str) -> tuple[str, list[int]]:
    name, _, pids = text.rpartition("=")
    return name or "server", [int(pid) for pid in pids.split(",")]


def parsed() -> Job:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("--connect", default="", help="URL of the connect server")
    parser.add_argument("--address", default="", help="host:port, to ask no connect server")
    parser.add_argument("--transport", choices=STREAMS, default="grpc")
    parser.add_argument("--secret-file", required=True, type=Path)
    parser.add_argument("--ca-file", type=Path, help="whom to trust, over TLS")
    parser.add_argument(
        "--server-pid", default=[], type=_pids, action="append", help="PID, or NAME=PID,PID"
    )
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--warm-up", type=float, default=3, help="seconds before counting")
    parser.add_argument("--texts", default="256", help="a number of bytes, or `real`")
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--window", type=int, default=1)
    parser.add_argument("--frame", type=int, default=0, help="sends a frame; 0: what is due")
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--count", type=int, default=2_000)
    return parser.parse_args(namespace=Job())


async def main(job: Job) -> None:
    print(json.dumps(await WORKLOADS[job.workload](job)))


if __name__ == "__main__":
    uvloop.run(main(parsed()))
