"""A foreign program writes what nobody can read into the topic, while people talk on a cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]

from cecochat.adapters import build
from cecochat.ports.backplane import DEAD_LETTERS
from cecochat.settings.settings import load
from tests.faults.test_cluster import count, report
from tests.faults.test_malformed_log import COPY, NOT_RECORDS, ORIGIN
from tests.faults.test_outages import until_lag
from tests.support.crowd import Crowd
from tests.support.eventually import eventually
from tests.support.outages import PARTITIONS
from tests.support.processes import processes
from tests.support.records import Acked
from tests.support.server import command
from tests.support.traffic import flowing, ring

USERS = 20
RATE_PER_S = 50
EVERY_S = 0.1
COUNTS = {"control": 1, "messaging": 2, "materialize": 1, "history": 1, "connect": 1}
pytestmark = pytest.mark.timeout(420)


class Raw(NamedTuple):
    """A record as Kafka has it: headers are bytes, and everything may be missing."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


def garbage(rng: Random) -> Raw:
    """What our own servers could never write."""
    known = rng.choice(list(NOT_RECORDS.values()))
    noise = rng.randbytes(rng.choice([1, 50, 5_000, 100_000]))
    return rng.choice(
        [
            Raw(b"", None, []),
            Raw(None, noise, []),
            Raw(noise[:50], noise, [("v", b"\xff\xfe")]),
            Raw(b"k", noise, _encoded(ORIGIN)),
            Raw(b"k", None, _encoded(COPY)),
            Raw(b"k", noise, [("kind", None), ("v", b"1")]),
            Raw(b"k", noise, [("kind", noise[:100]), ("kind", b"copy"), ("", b"")]),
            Raw(known.key, known.value, _encoded(known.headers)),
        ]
    )


def _encoded(headers: tuple[tuple[str, str], ...]) -> list[tuple[str, bytes | None]]:
    return [(name, value.encode()) for name, value in headers]


class Foreign:
    """A program that has the right to write, and knows nothing of us."""

    def __init__(self, producers: list[AIOKafkaProducer], topic: str, rng: Random) -> None:
        self._producers, self._topic, self._rng = producers, topic, rng
        self.put: set[str] = set()  # the positions

    async def write(self, partition: int) -> None:
        raw = garbage(self._rng)
        producer = self._rng.choice(self._producers)
        landed = await producer.send_and_wait(
            self._topic, raw.value, raw.key, partition, headers=raw.headers
        )
        self.put.add(f"{partition}:{landed.offset}")

    async def write_for(self, seconds: float) -> None:
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            await self.write(self._rng.randrange(PARTITIONS))
            await asyncio.sleep(EVERY_S)


@asynccontextmanager
async def foreign(environment: Mapping[str, str], rng: Random) -> AsyncIterator[Foreign]:
    """With and without compression."""
    address, topic = environment["CECOCHAT_KAFKA"], f"{environment['CECOCHAT_NAMESPACE']}.messages"
    producers = [
        AIOKafkaProducer(bootstrap_servers=address, compression_type=kind)
        for kind in (None, "gzip")
    ]
    try:
        for producer in producers:
            await producer.start()
        yield Foreign(producers, topic, rng)
    finally:
        for producer in producers:
            await producer.stop()


async def buried(environment: Mapping[str, str], expected: set[str]) -> set[str]:
    """The positions of the dead letters, once all that are expected are there."""
    found: set[str] = set()
    async with build.backplane(load(environment)) as log:
        for partition in range(PARTITIONS):
            wanted = {each for each in expected if each.startswith(f"{partition}:")}
            async with asyncio.timeout(60), aclosing(log.read(DEAD_LETTERS, partition, 0)) as read:
                while not wanted <= found:
                    found |= {dict(letter.headers)["position"] for letter in await anext(read)}
    return found


async def test_garbage_in_the_middle_and_at_the_end(
    on_real: dict[str, str], tmp_path: Path, rng: Random, base_seed: int
) -> None:
    async with processes(tmp_path, on_real, COUNTS) as cluster, foreign(on_real, rng) as program:
        crowd = Crowd(lambda: cluster.connect_url, cluster.secret_file, cluster.record)
        who, chats = ring(USERS)
        async with crowd.connected(who, chats):
            async with flowing(list(crowd.devices.values()), RATE_PER_S, rng):
                await program.write_for(15)
            await crowd.answered()
            for partition in range(PARTITIONS):
                await program.write(partition)  # the last of each
            await until_lag(cluster, lambda records: not records)
            found = await crowd.settle(within_s=90)
            assert await buried(on_real, program.put) == program.put
            await eventually(lambda: is_well(on_real), within_s=60, every_s=1)
        assert count(crowd, 0, Acked) > RATE_PER_S * 8, "they hardly talked meanwhile"
    report("foreign-records", base_seed, crowd, garbage=len(program.put), violations=len(found))
    assert found == []


async def is_well(environment: dict[str, str]) -> bool:
    return "WRONG" not in await command(environment, "status", code=None)
