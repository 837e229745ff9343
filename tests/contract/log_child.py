"""Appends to an embedded log until it is killed, and says on standard output what was accepted."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.ports.backplane import NewRecord

PARTITIONS = 4


async def main(folder: Path) -> None:
    """Four appenders, one a partition, two records a call, each line `partition number`."""
    log = await EmbeddedBackplane.open(folder, partition_count=PARTITIONS)
    producer = await log.producer()

    async def appender(partition: int) -> None:
        for number in range(0, 1_000_000, 2):
            pair = [NewRecord(partition, b"k", b"%d" % n, ()) for n in (number, number + 1)]
            await producer.append(pair)
            sys.stdout.write(f"{partition} {number + 1}\n")
            sys.stdout.flush()

    async with asyncio.TaskGroup() as tasks:
        for partition in range(PARTITIONS):
            tasks.create_task(appender(partition))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
