"""A log as its tests use it: records to append, and members of a group."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import aclosing

from cecochat.domain.log.place import Place
from cecochat.ports.backplane import MESSAGES, Backplane, NewRecord, Record, Topic

DEADLINE_S = 120
NOW_MS = 1_700_000_000_000
GIVEN_UP = Place(NOW_MS, 1)
"""What a member commits at the end of its work."""


def new(number: int, partition: int = 0) -> NewRecord:
    headers = (("epoch", "7"), ("number", str(number)))
    return NewRecord(partition, b"alice\nbob", b"%d" % number, headers)


async def append(log: Backplane, records: Sequence[NewRecord], topic: Topic = MESSAGES) -> None:
    producer = await log.producer(topic)
    await producer.append(records)
    await producer.close()


async def read(
    log: Backplane, count: int, partition: int = 0, offset: int = 0, topic: Topic = MESSAGES
) -> list[Record]:
    """The first `count` records from `offset` on."""
    found: list[Record] = []
    async with asyncio.timeout(DEADLINE_S), aclosing(log.read(topic, partition, offset)) as batches:
        while len(found) < count:
            batch = await anext(batches)
            assert batch, "a batch is never empty"
            found += batch
    return found[:count]


def values(records: Sequence[Record]) -> list[int]:
    return [int(record.value) for record in records]


class Workers:
    """Who works on which partition: never two at a time."""

    def __init__(self) -> None:
        self.at_work: dict[int, str] = {}
        self.changed = asyncio.Condition()
        self.started = 0

    async def member(self, log: Backplane, name: str) -> None:
        async def work(partition: int) -> None:
            assert partition not in self.at_work, f"{partition} is still with {self.at_work}"
            self.at_work[partition] = name
            self.started += 1
            await self._tell()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)  # finishing takes a while, and nobody may come in between
                await log.commit("g", MESSAGES, {partition: GIVEN_UP})
                del self.at_work[partition]
                await self._tell()

        await log.share(MESSAGES, "g", work)

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, *counts: int) -> None:
        """Until members work on as many partitions as `counts` says, in any order."""

        def reached() -> bool:
            names = list(self.at_work.values())
            return sorted(names.count(name) for name in set(names)) == sorted(counts)

        async with asyncio.timeout(DEADLINE_S), self.changed:
            await self.changed.wait_for(reached)


WEEK_MS = 7 * 86_400_000


class Later:
    """The time that is told to retention; the log's own goes on."""

    def __init__(self) -> None:
        self.at_s: float | None = None

    def __call__(self) -> float:
        return time.time() if self.at_s is None else self.at_s
