"""What was acknowledged and cannot be in the history: of all else nothing is missing, and everybody
is told.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cecochat.adapters.kafka.backplane import KafkaBackplane
from cecochat.adapters.kafka.settings import KafkaSettings
from cecochat.client import connect as connected
from cecochat.client import open_history
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import partition_in
from cecochat.domain.log.records import Origin
from cecochat.ports.backplane import MESSAGES, Backplane
from cecochat.ports.reading import between, read_cut_log
from scripts.backends.launch import Backend, private
from tests.faults.test_cluster import report
from tests.faults.test_outages import until_lag
from tests.support.crowd import Crowd
from tests.support.eventually import eventually
from tests.support.oracle import Kind
from tests.support.outages import PARTITIONS
from tests.support.processes import Processes, processes
from tests.support.rawclient import mint
from tests.support.records import Acked
from tests.support.server import command
from tests.support.traffic import flowing, ring

USERS = 40
RATE_PER_S = 50
MUTATION = "28KiB"  # Cassandra itself has one of 25 at its start
REFUSED = 10
pytestmark = pytest.mark.timeout(420)


@asynccontextmanager
async def kafka(environment: Mapping[str, str]) -> AsyncIterator[KafkaBackplane]:
    """As of a clock for which everything is old."""
    address, namespace = environment["CECOCHAT_KAFKA"], environment["CECOCHAT_NAMESPACE"]
    settings = KafkaSettings(address, namespace=namespace)
    log = await KafkaBackplane.open(settings, clock=lambda: time.time() + 1e9)
    try:
        yield log
    finally:
        await log.close()


async def cut(log: KafkaBackplane, partition: int, part: float) -> int:
    """DeleteRecords of a part of what is not materialized; where the log begins now."""
    committed = await log.committed("materialize", MESSAGES, partition)
    start = committed.offset if committed else 0
    _, end = await log.bounds(MESSAGES, partition)
    await log.release(MESSAGES, partition, start + int((end - start) * part))
    await log.trim()
    return (await log.bounds(MESSAGES, partition))[0]


async def left_in(log: Backplane, partition: int) -> set[int]:
    """Ids of the messages that are still in the log, and count."""
    start, end = await log.bounds(MESSAGES, partition)
    fold = Fold() if start == 0 else (await read_cut_log(log, partition, start, end)).fold
    assert fold, "nothing says what counts"
    return {
        record.id
        async for offset, record, at_ms in between(log, partition, start, end)
        if fold.step(offset, record, at_ms)
        and isinstance(record, Origin)
        and record.parsed.HasField("message")
    }


async def test_a_trim_while_nobody_materializes(
    on_real: dict[str, str], tmp_path: Path, rng: Random, base_seed: int
) -> None:
    async with processes(tmp_path, on_real) as cluster:
        crowd = Crowd(lambda: cluster.connect_url, cluster.secret_file, cluster.record)
        who, chats = ring(USERS)
        async with crowd.connected(who, chats), kafka(on_real) as log:
            devices = list(crowd.devices.values())
            async with flowing(devices, RATE_PER_S, rng):
                await asyncio.sleep(5)
                for server in cluster.of("materialize"):
                    await server.kill()
                await asyncio.sleep(15)
            await crowd.answered()
            begins = [await cut(log, partition, 0.6) for partition in range(PARTITIONS)]
            assert sum(begins) > 500, "hardly anything was cut"
            begun_s = time.monotonic()
            async with flowing(devices, 20, rng):
                for server in cluster.of("materialize"):
                    await server.start()
                await until_lag(cluster, lambda records: records < RATE_PER_S)
                caught_up_s = time.monotonic() - begun_s
            found = await crowd.settle(within_s=60)
            stored = {each.message_id for of in (await crowd.histories()).values() for each in of}
            left = {id_ for p in range(PARTITIONS) for id_ in await left_in(log, p)}
            acked = {e.what.message_id for e in crowd.record if isinstance(e.what, Acked)}
            missing = acked - stored
            holes = await holes_of(on_real)
        assert left - stored == set(), "it is still in Kafka"
        assert missing, "what was cut was in the history"
        assert {hole["reason"] for hole in holes} == {"trimmed"}
        assert all(within(id_, holes) for id_ in missing), "of some nobody was told"
        assert {each.kind for each in found} <= {
            *(Kind.LOST_FROM_HISTORY, Kind.NOT_IN_HISTORY, Kind.UNEXPLAINED)
        }
        assert {each.detail for each in found if each.kind is Kind.LOST_FROM_HISTORY} == {
            f"id {id_}" for id_ in missing
        }
        names = await until_acknowledged(on_real)
        assert len(names) == sum(begin > 0 for begin in begins)
    figures = {"cut": sum(begins), "left": len(left), "missing": len(missing), "holes": len(holes)}
    report("holes-trim", base_seed, crowd, caught_up_s=round(caught_up_s, 1), **figures)


async def holes_of(environment: Mapping[str, str]) -> list[dict[str, Any]]:
    said = await command(environment, "holes", "list", "--json", code=None)
    return [json.loads(line) for line in said.splitlines()]


def within(id_: int, holes: list[dict[str, Any]]) -> bool:
    return any(
        hole["partition"] == partition_in(id_)
        and int(hole["first_id"]) <= id_ <= int(hole["last_id"])
        for hole in holes
    )


async def until_acknowledged(environment: Mapping[str, str]) -> list[str]:
    """`status` says WRONG for each hole until somebody says that they know; their names."""
    holes = await holes_of(environment)
    names = sorted({hole["name"] for hole in holes if not hole["acknowledged_at_ms"]})
    said = await command(environment, "status", code=1)
    assert all(f"hole {name}, " in said for name in names)
    await command(environment, "holes", "ack", *names, "--by", "anna")

    async def well() -> bool:
        return "WRONG" not in await command(environment, "status", code=None)

    await eventually(well, within_s=30, every_s=1)
    return names


@pytest.fixture
async def on_small_rows(
    real: Mapping[str, Backend], on_real: dict[str, str], tmp_path: Path
) -> AsyncIterator[dict[str, str]]:
    """On a Cassandra that takes no large rows."""
    node = private("cassandra", tmp_path / "cassandra", {"mutation": MUTATION})
    await asyncio.to_thread(node.start)
    yield on_real | {"CECOCHAT_CASSANDRA": node.address}
    await asyncio.to_thread(node.kill)


async def test_rows_that_cassandra_refuses(
    on_small_rows: dict[str, str], tmp_path: Path, rng: Random, base_seed: int
) -> None:
    """A mutation that is too large, again and again, while forty others talk."""
    large = {"text.max_bytes": 32 << 10}
    async with processes(tmp_path, on_small_rows, configuration=large) as cluster:
        crowd = Crowd(lambda: cluster.connect_url, cluster.secret_file, cluster.record)
        who, chats = ring(USERS)
        async with crowd.connected(who, chats):
            async with flowing(list(crowd.devices.values()), RATE_PER_S, rng):
                await asyncio.sleep(2)
                ids = await sends_large(cluster)
                await asyncio.sleep(5)
            assert await crowd.settle(within_s=60) == [], "of the others nothing is missing"
        for server in cluster.of("materialize"):
            assert server.process
            assert server.process.returncode is None, server.said[-2_000:]
        page, told = await read(cluster)
        assert page == [f"small {number}" for number in range(REFUSED)]
        assert told == ids
        said = await command(on_small_rows, "dead", "list", "--json")
        letters = [json.loads(line) for line in said.splitlines()]
        assert {int(each["message_id"]) for each in letters} == ids
        assert all("oversized mutation" in each["reason"] for each in letters)
        await command(on_small_rows, "dead", "drop", letters[0]["name"], "--by", "anna")
        said = await command(on_small_rows, "dead", "retry", letters[1]["name"], code=1)
        assert "is refused again" in said
        assert len(await until_acknowledged(on_small_rows)) == REFUSED - 1  # one is given up
    report("holes-refused", base_seed, crowd, refused=len(ids))


async def sends_large(cluster: Processes) -> set[int]:
    """Ids of what will be refused; a small message comes before each."""
    ids = set()
    token = mint(cluster.secret_file, "mallory", 3_600)
    async with connected(cluster.connect_url, token, listen=False) as mallory:
        for number in range(REFUSED):
            await mallory.send("victor", f"small {number}")
            ids.add(await mallory.send("victor", "x" * (30 << 10)))
    return ids


async def read(cluster: Processes) -> tuple[list[str], set[int]]:
    """The texts of the chat, and the ids that its readers are told are missing."""
    token = mint(cluster.secret_file, "victor", 3_600)
    async with open_history(cluster.connect_url, token) as history:
        page = await history.messages("mallory", 100)
    assert all(hole.first_id == hole.last_id for hole in page.holes)
    assert {hole.reason for hole in page.holes} == {"refused"}
    return [message.text for message in page.messages], {hole.first_id for hole in page.holes}
