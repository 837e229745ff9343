"""CPU and wall time per appended row of the embedded log, without servers around it.

    python -m tests.bench.log_append [FOLDER]

Closed loops: each of `in_flight` appenders waits for its commit before its next append, so a group
commit holds about that many rows. The CPU time is the whole process's: the loops themselves too.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple

from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.ports.backplane import MESSAGES, NewRecord, Producer

PARTITIONS = 12
VALUE_BYTES = 250
HEADERS = (("epoch", "123456"), ("number", "654321"))


class Case(NamedTuple):
    """`records`: in one append call. `read`: a reader stands at the end of each partition."""

    in_flight: int
    records: int
    read: bool
    calls: int


CASES = (
    Case(1, 1, False, 2_000),
    Case(16, 1, False, 16_000),
    Case(200, 1, False, 60_000),
    Case(200, 1, True, 60_000),
    Case(1_000, 1, True, 100_000),
    Case(12, 16, True, 6_000),
    Case(12, 100, True, 1_000),
)


async def appender(producer: Producer, records: int, calls: int) -> None:
    value = random.randbytes(VALUE_BYTES)
    for _ in range(calls):
        partition = random.randrange(PARTITIONS)
        await producer.append([NewRecord(partition, b"alice", value, HEADERS)] * records)


async def reader(log: EmbeddedBackplane, partition: int, ended: asyncio.Event) -> None:
    """Read on until all appends have returned, and then to the end of the log."""
    async with aclosing(log.read(MESSAGES, partition, 0)) as batches:
        async for batch in batches:
            _, end = await log.bounds(MESSAGES, partition)
            if ended.is_set() and batch[-1].offset + 1 == end:
                return


async def measure(case: Case, folder: Path) -> str:
    log = await EmbeddedBackplane.open(folder, partition_count=PARTITIONS)
    producer = await log.producer()
    calls = case.calls // case.in_flight
    rows = case.in_flight * calls * case.records
    ended = asyncio.Event()
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    async with asyncio.TaskGroup() as readers:
        for partition in range(PARTITIONS if case.read else 0):
            readers.create_task(reader(log, partition, ended))
        async with asyncio.TaskGroup() as appenders:
            for _ in range(case.in_flight):
                appenders.create_task(appender(producer, case.records, calls))
        ended.set()
        await producer.append([NewRecord(each, b"", b"", ()) for each in range(PARTITIONS)])
    cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - wall_s
    await log.close()
    return (
        f"{case.in_flight:9} {case.records:7} {'yes' if case.read else 'no':>5}"
        f" {cpu_s / rows * 1e6:13.1f} {rows / wall_s:10.0f}"
    )


def main() -> None:
    """Print one line a case. The folder must be on a disk, for a sync to mean anything."""
    print("in flight records  read  CPU µs/row     rows/s")
    for case in CASES:
        with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else ".") as folder:
            print(asyncio.run(measure(case, Path(folder))), flush=True)


if __name__ == "__main__":
    main()
