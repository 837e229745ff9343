"""A log that loses its end while the history is behind: what is missing is told, until an operator
says that they know.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cecochat.adapters.embedded.history import EmbeddedHistory
from cecochat.client import connect as connected
from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.log.ids import partition_in
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Takeover
from cecochat.ports.backplane import FORWARD_GROUP, MESSAGES
from cecochat.ports.history import Hole
from cecochat.ports.reading import between
from cecochat.runtime.clock import now_ms
from tests.integration.cluster import Cluster, cluster, user_on
from tests.integration.streams import message
from tests.support.eventually import eventually
from tests.support.rawclient import mint
from tests.support.server import Server, command, started

USERS = ("ann", "bob", "cid", "dan")
BATCH = 3
PARTITIONS = 4
OFFSETS = 1 << 40  # of a partition, in the keys of SQLite
ENDS = "SELECT place / ?1, max(place) FROM records GROUP BY place / ?1"


async def talk(server: Server) -> list[int]:
    """Everybody writes to everybody; the ids of what was acknowledged."""
    ids: list[int] = []
    for user in USERS:
        token = mint(server.secret_file, user, 3_600)
        async with connected(server.connect_url, token, listen=False, timeout_s=30) as client:
            others = [each for each in USERS if each != user] * BATCH
            ids += [await client.send(other, "hello") for other in others]
    return ids


def ends(log_file: Path) -> dict[int, int]:
    with closing(sqlite3.connect(log_file)) as log:
        return dict(log.execute(ENDS, (OFFSETS,)).fetchall())


def cut_to(log_file: Path, kept: dict[int, int]) -> None:
    """What was appended to the partitions since is gone."""
    with closing(sqlite3.connect(log_file)) as log, log:
        for number, last in kept.items():
            log.execute(
                "DELETE FROM records WHERE place > ? AND place < ?", (last, (number + 1) * OFFSETS)
            )


def stored(data: Path) -> set[int]:
    with closing(sqlite3.connect(data / "history.db")) as history:
        return {id_ for (id_,) in history.execute("SELECT message_id FROM messages")}


async def holes(data: Path) -> list[Hole]:
    history = await EmbeddedHistory.open(data)
    try:
        return await history.holes()
    finally:
        await history.close()


@pytest.mark.timeout(420)
@pytest.mark.parametrize("behind", [True, False])
async def test_doctor_says_what_was_lost_before_the_history_had_it(
    tmp_path: Path, behind: bool
) -> None:
    """With an older history, and with one that has nearly all: nothing tells that it has all."""
    data, older = tmp_path / "data", tmp_path / "older.db"
    server = Server(tmp_path, {"CECOCHAT_PARTITIONS": str(PARTITIONS)})
    async with started(server):
        await talk(server)
        await server.terminate()
        shutil.copy(data / "history.db", older)
        before = ends(data / "log.db")
        await server.start()
        acknowledged = await talk(server)
        await server.terminate()
        assert await holes(data) == [], "clean restarts alarm nobody"
        if behind:
            for file in data.glob("history.db*"):
                file.unlink()
            shutil.copy(older, data / "history.db")
        cut_to(data / "log.db", before)
        await server.start()
        homes = {partition_of(user, PARTITIONS) for user in USERS}
        found = await told_of(data, homes)
        await server.terminate()
        await server.start()
        assert await holes(data) == found, "each once, however often it starts"
        known, doctor = {"XDG_STATE_HOME": str(tmp_path / "state")}, ("doctor", "--data", str(data))
        assert "WRONG  holes" in await command(known, *doctor, code=1)
        names = [hole.name for hole in found]
        await command(known, "holes", "ack", *names, "--by", "ann", "--data", str(data))
        await command(known, *doctor)
    told = {id_ for id_ in acknowledged if any(is_in(id_, hole) for hole in found)}
    assert told == set(acknowledged) - stored(data), "what is in the history is not missing"
    assert told or not behind


def is_in(id_: int, hole: Hole) -> bool:
    return hole.partition == partition_in(id_) and hole.first_id <= id_ <= hole.last_id


@pytest.mark.timeout(420)
async def test_a_backup_that_is_restored_alarms_nobody(tmp_path: Path) -> None:
    """Made while people talked, the log last. Who restores it knows what came later."""
    data, copy = tmp_path / "data", tmp_path / "copy"
    server = Server(tmp_path, {"CECOCHAT_PARTITIONS": str(PARTITIONS)})
    async with started(server):
        talking = asyncio.create_task(talk(server))
        await asyncio.sleep(0.5)
        copy.mkdir(mode=0o700)
        for name in ("configuration.db", "history.db", "log.db"):
            await asyncio.to_thread(back_up, data / name, copy / name)
        shutil.copy(data / "token-secret", copy)
        await talking
        await server.terminate()
        data.rename(tmp_path / "aside")
        await command({}, "restore", str(copy), "--data", str(data))
        await server.start()
        said = set(await talk(server))
        await eventually(lambda: said <= stored(data), within_s=30, every_s=0.2)
        assert await holes(data) == []


def back_up(live: Path, copy: Path) -> None:
    with closing(sqlite3.connect(live)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)


async def told_of(data: Path, partitions: set[int]) -> list[Hole]:
    async def told() -> bool:
        return partitions <= {hole.partition for hole in await holes(data)}

    await eventually(told, within_s=30, every_s=0.5)
    found = await holes(data)
    assert {hole.reason for hole in found} == {"lost"}
    assert len({hole.partition for hole in found}) == len(found), "one loss, one hole"
    return found


# -- what an owner finds, on each kind of log

ALICE, BOB = user_on(0), user_on(1)


async def says(servers: Cluster) -> list[Place]:
    """What the takeovers of the first partition say was lost."""
    log = servers.parts.backplane
    _, end = await log.bounds(MESSAGES, 0)
    return [
        record.lost
        async for _, record, _ in between(log, 0, 0, end)
        if isinstance(record, Takeover) and record.lost.offset >= 0
    ]


async def test_an_owner_says_what_it_finds_lost_before_it_writes_over_that(
    tmp_path: Path, kafka: str
) -> None:
    """The watermark is of an end that is not there, and the history knows nothing of it."""
    async with cluster(tmp_path, kafka) as servers:
        log = servers.parts.backplane
        await servers.put_assignment({"0": "one", "1": "one"})
        await servers.start("one")
        async with servers.stream("one", ALICE) as alice:
            await alice.send(message("m0", f"d:{min(ALICE, BOB)}~{max(ALICE, BOB)}"))
            await alice.until_acks(1)
        assert await says(servers) == []
        await servers.put_assignment({"1": "one"})
        await servers.start("two")
        _, end = await log.bounds(MESSAGES, 0)
        lost = Place(now_ms(), end + 50)
        await log.commit(FORWARD_GROUP, MESSAGES, {0: lost._replace(offset=lost.offset + 1)})
        await servers.put_assignment({"0": "two", "1": "one"})

        async def told() -> bool:
            assert servers.parts.history
            return bool(await servers.parts.history.holes())

        await eventually(told)
        assert await says(servers) == [lost]
        assert servers.parts.history
        (hole,) = await servers.parts.history.holes()
        assert (hole.reason, hole.partition, hole.last_offset) == ("lost", 0, lost.offset)
        assert end <= hole.first_offset <= lost.offset
