"""Our Kafka adapter beside librdkafka, in turns. Needs `pip install confluent-kafka`.

    python -m tests.bench.kafka_clients [ROUNDS]

Each run is a process that appends one record a call to random partitions and reads all of them, as
a messaging server does. CPU is that of the process: its appends, its reads and the loops around.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from cecochat.adapters.kafka.backplane import KafkaBackplane
from cecochat.adapters.kafka.settings import KafkaSettings
from cecochat.ports.backplane import MESSAGES, NewRecord, Record
from scripts.backends import kafka, ports
from scripts.backends.launch import Backend
from tests.bench.librdkafka import Librdkafka
from tests.bench.meter import cpu_s, rss_bytes
from tests.bench.table import aligned

VALUE_BYTES = 256
HEADERS = (("epoch", "123456"), ("number", "654321"))
CLIENTS = ("aiokafka", "librdkafka")
SETTLED_S = 2.0
IDLE_S = 15.0
READ_WITHIN_S = 60.0

Append = Callable[[NewRecord], Awaitable[None]]


class Case(NamedTuple):
    """`in_flight` 0: nothing is appended, and the cores that this takes are measured."""

    partitions: int
    in_flight: int
    linger_ms: int
    records: int


CASES = (
    *(
        Case(partitions, in_flight, linger_ms, 3_000 if in_flight == 1 else 12_000)
        for partitions, in_flight, linger_ms in (
            (12, 1, 0), (12, 1, 5), (12, 16, 0), (12, 16, 5), (64, 16, 5), (256, 16, 5),
        )
    ),
    *(Case(partitions, 0, 5, 0) for partitions in (12, 64, 256)),
)  # fmt: skip


class Count:
    """How many records were read."""

    def __init__(self) -> None:
        self._read = self._wanted = 0
        self._reached = asyncio.Event()

    def add(self, records: Sequence[Record]) -> None:
        self._read += len(records)
        if self._read >= self._wanted:
            self._reached.set()

    async def until(self, records: int) -> None:
        self._wanted = records
        self._reached.clear()
        self.add(())
        async with asyncio.timeout(READ_WITHIN_S):
            await self._reached.wait()


@asynccontextmanager
async def client(name: str, brokers: str, case: Case, count: Count) -> AsyncIterator[Append]:
    """What appends, while every partition is read from its end on."""
    settings = KafkaSettings(
        brokers,
        namespace=f"bench{case.partitions}",
        partition_count=case.partitions,
        linger_ms=case.linger_ms,
    )
    log = await KafkaBackplane.open(settings)
    starts = {each: (await log.bounds(MESSAGES, each))[1] for each in range(case.partitions)}
    if name == "librdkafka":
        await log.close()
        library = Librdkafka(brokers, f"{settings.namespace}.{MESSAGES}", case.linger_ms)
        library.follow(starts, count.add)
        yield library.append
        await library.close()
    else:
        async with ours(log, starts, count) as append:
            yield append
        await log.close()


@asynccontextmanager
async def ours(
    log: KafkaBackplane, starts: Mapping[int, int], count: Count
) -> AsyncIterator[Append]:
    sessions = [await log.producer() for _ in starts]
    async with asyncio.TaskGroup() as tasks:
        readers = [tasks.create_task(read(log, each, at, count)) for each, at in starts.items()]
        yield lambda record: sessions[record.partition].append([record])
        for reader in readers:
            reader.cancel()


async def read(log: KafkaBackplane, partition: int, start: int, count: Count) -> None:
    async with aclosing(log.read(MESSAGES, partition, start)) as batches:
        async for batch in batches:
            count.add(batch)


async def append(records: int, case: Case, to: Append) -> None:
    value = random.randbytes(VALUE_BYTES)
    for _ in range(records):
        await to(NewRecord(random.randrange(case.partitions), b"alice", value, HEADERS))


async def measure(name: str, brokers: str, broker: int, case: Case) -> dict[str, float]:
    count, warming = Count(), case.partitions * 4
    async with client(name, brokers, case, count) as to:
        await append(warming, case, to)
        await count.until(warming)
        await asyncio.sleep(SETTLED_S)
        own_s, broker_s, began_s = time.process_time(), cpu_s(broker), time.monotonic()
        if case.in_flight:
            each = case.records // case.in_flight
            await asyncio.gather(*(append(each, case, to) for _ in range(case.in_flight)))
            await count.until(warming + each * case.in_flight)
        else:
            await asyncio.sleep(IDLE_S)
        took_s = time.monotonic() - began_s
        per = case.records / 1_000 or took_s / 100  # 1,000 records, or a hundredth of a core
        return {
            "cpu": (time.process_time() - own_s) / per,
            "broker": (cpu_s(broker) - broker_s) / per,
            "per_s": case.records / took_s,
            "mb": rss_bytes(os.getpid()) / 1e6,
        }


def run(name: str, broker: Backend, case: Case) -> dict[str, float]:
    """Measure one case in a process of its own."""
    command = [sys.executable, "-m", __spec__.name, name, broker.address, str(broker.pid)]
    done = subprocess.run(
        [*command, *map(str, case)], stdout=subprocess.PIPE, check=True, timeout=300
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def line(case: Case, name: str, rounds: Sequence[Mapping[str, float]]) -> list[str]:
    medians = {key: statistics.median(each[key] for each in rounds) for key in rounds[0]}
    spread = sorted(each["cpu"] for each in rounds)
    return [
        *map(str, case[:3]),
        name,
        f"{medians['cpu']:.3f}",
        f"{spread[0]:.3f}-{spread[-1]:.3f}",
        f"{medians['broker']:.3f}",
        f"{medians['per_s']:.0f}",
        f"{medians['mb']:.0f}",
    ]


def main(rounds: int) -> None:
    """Print a line for each case and client: medians, and the spread of the CPU."""
    table = [
        "partitions",
        "in flight",
        "linger ms",
        "client",
        "CPU",
        "from-to",
        "broker",
        "/s",
        "MB",
    ]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        kind = kafka.KIND
        broker = Backend(kind, kind.instance(Path(folder), ports.free(kind)))
        broker.start()
        try:
            for case in CASES:
                found: dict[str, list[dict[str, float]]] = {name: [] for name in CLIENTS}
                for _ in range(rounds):
                    for name in CLIENTS:
                        found[name].append(run(name, broker, case))
                rows += [line(case, name, each) for name, each in found.items()]
                print(rows[-2], rows[-1], sep="\n", file=sys.stderr, flush=True)
        finally:
            broker.kill()
    print(aligned([table, *rows]))


if __name__ == "__main__":
    match sys.argv[1:]:
        case [name, brokers, pid, *numbers]:
            chosen = Case(*map(int, numbers))
            print(json.dumps(asyncio.run(measure(name, brokers, int(pid), chosen))))
        case arguments:
            main(*map(int, arguments or ["3"]))
