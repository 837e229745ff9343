"""The log loses its end while people talk: an older copy of Kafka's volume, or of the data folder,
is put back under the same log id. What went with it is gone; all that comes afterwards holds.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.adapters.embedded.history import EmbeddedHistory
from cecochat.client import ChatError, Client
from cecochat.client import connect as connected
from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.log.ids import partition_in
from cecochat.ports.backplane import MESSAGES, Backplane
from scripts.backends.launch import Backend
from tests.faults.test_cluster import all_back, report
from tests.faults.test_holes import kafka as opened
from tests.faults.test_holes import left_in
from tests.faults.test_outages import until_lag
from tests.support import volumes
from tests.support.crowd import Crowd
from tests.support.eventually import eventually
from tests.support.outages import PARTITIONS
from tests.support.processes import Processes, ServerProcess, processes
from tests.support.rawclient import mint
from tests.support.records import Entry, Message, participants
from tests.support.server import Server, command, running
from tests.support.taken import Taken, homes_of, shown_in, stood_on_what_is_gone, told_of_a_gap
from tests.support.traffic import flowing, ring

USERS = 20
RATE_PER_S = 50
COUNTS = {"control": 1, "messaging": 2, "materialize": 2, "history": 1, "connect": 1}
TALKED_S = 6.0  # between the copy and the loss
pytestmark = pytest.mark.timeout(420)


def victims(cluster: Processes, which: str) -> list[ServerProcess]:
    """The servers that start anew with Kafka: all, none, or one of each kind that has two."""
    if which == "half":
        return [each for each in cluster.servers.values() if each.name.endswith("-2")]
    return list(cluster.servers.values()) if which == "all" else []


SLOW = pytest.mark.slow  # a minute and more each


@pytest.mark.parametrize("lost", ["all", pytest.param("one", marks=SLOW)])
@pytest.mark.parametrize(
    "which", [pytest.param("all", marks=SLOW), pytest.param("half", marks=SLOW), "none"]
)
async def test_an_older_volume_is_put_back(
    lost: str,
    which: str,
    on_real: dict[str, str],
    real: Mapping[str, Backend],
    tmp_path: Path,
    rng: Random,
    base_seed: int,
) -> None:
    kafka, (who, chats) = real["kafka"], ring(USERS)
    partition = partition_of(rng.choice(who).user_id, PARTITIONS)
    folder = f"{on_real['CECOCHAT_NAMESPACE']}.messages-{partition}" if lost == "one" else ""
    async with processes(tmp_path, on_real, COUNTS) as cluster:
        crowd = Crowd(lambda: cluster.connect_url, cluster.secret_file, cluster.record)
        dying = victims(cluster, which)
        async with crowd.connected(who, chats):
            async with flowing(list(crowd.devices.values()), RATE_PER_S, rng):
                await asyncio.sleep(3)
                await asyncio.to_thread(volumes.copy, kafka, tmp_path / "older")
                await all_back(crowd)
                await asyncio.sleep(TALKED_S)
                await asyncio.to_thread(kafka.stop if folder else kafka.kill)
                await asyncio.gather(*(server.kill() for server in dying))
                await asyncio.to_thread(volumes.put_back, kafka, tmp_path / "older", folder)
                back_ms, mark = time.time_ns() // 1_000_000, len(crowd.record.entries)
                began_s = time.monotonic()
                await asyncio.to_thread(kafka.start)
                await asyncio.gather(*(server.start() for server in dying))
                await all_back(crowd)
                back_s = time.monotonic() - began_s
                await tokens_hold(cluster)
                await asyncio.sleep(TALKED_S)
            await crowd.answered()
            known = await known_to(crowd)
            async with opened(on_real) as log:
                crowd.taken = taken = await taken_from(log, known, back_ms)
            found = await crowd.settle(within_s=90)
            await until_lag(cluster, lambda records: records < RATE_PER_S)
            stored = [each for of in (await crowd.histories()).values() for each in of]
            gapped = assert_told(taken, crowd.record.entries, mark)
            holes = await known_holes(on_real)
            names = [hole["name"] for hole in holes]
            await command(on_real, "holes", "ack", *names, "--by", "the test")
            await eventually(lambda: is_well(on_real), within_s=60, every_s=1)
    kept = [each for each in stored if each.message_id in taken.ids]
    missing = taken.ids - {each.message_id for each in kept}
    figures = {
        "gone": len(taken.ids),
        "holes": len(holes),
        "gone_but_in_the_history": len(kept),
        "of_these_not_shown": not_shown(crowd.record.entries, kept),
        "sent_twice": sent_twice(taken, crowd.record.entries),
        "gaps": gapped,
        "all_back_s": round(back_s, 1),
    }
    name = f"log-lost-{lost}-restarted-{which}"
    report(name, base_seed, crowd, **figures | {"violations": len(found)})
    assert found == []
    assert untold(missing, holes) == set(), "acknowledged, in no history, and nobody is told"
    assert len(taken.ids) > (0 if folder else RATE_PER_S), "hardly anything was lost"


async def test_an_older_copy_of_the_folder_is_restored(
    tmp_path: Path, rng: Random, base_seed: int
) -> None:
    data, older = tmp_path / "data", tmp_path / "older"
    async with running(tmp_path) as server:
        secret = shutil.copy(
            server.secret_file, tmp_path / "secret"
        )  # clients have it all the time
        crowd = Crowd(lambda: server.connect_url, Path(secret), server.record)
        who, chats = ring(USERS)
        async with crowd.connected(who, chats):
            async with flowing(list(crowd.devices.values()), RATE_PER_S, rng):
                await asyncio.sleep(3)
                await server.terminate()
                shutil.copytree(data, older)
                await server.start()
                await all_back(crowd)
                await asyncio.sleep(TALKED_S)
                await server.kill()
                data.rename(tmp_path / "aside")
                await command({}, "restore", str(older), "--data", str(data))
                back_ms, mark = time.time_ns() // 1_000_000, len(crowd.record.entries)
                await server.start()
                await all_back(crowd)
                await tokens_hold(server)
                await asyncio.sleep(TALKED_S)
            await crowd.answered()
            known = await known_to(crowd)
            await server.terminate()
            log = await EmbeddedBackplane.open(data)
            crowd.taken = taken = await taken_from(log, known, back_ms)
            await log.close()
            again = len(crowd.record.entries)
            await server.start()
            await all_back(crowd)
            found = await crowd.settle(within_s=60)
            gapped = assert_told(taken, crowd.record.entries, mark)
            assert not told_of_a_gap(crowd.record.entries[again:]), "they had been told already"
            history = await EmbeddedHistory.open(data)
            assert await history.holes() == [], "who has restored it knows"
            await history.close()
    figures = {"gone": len(taken.ids), "gaps": gapped, "violations": len(found)}
    report("log-lost-folder-restored", base_seed, crowd, **figures)
    assert found == []
    assert len(taken.ids) > RATE_PER_S, "hardly anything was lost"


async def known_to(crowd: Crowd) -> set[int]:
    """The messages that any client or the history knows of."""
    rows = {each.message_id for of in (await crowd.histories()).values() for each in of}
    return rows | {id_ for _, id_ in shown_in(crowd.record.entries)}


async def taken_from(log: Backplane, known: set[int], back_ms: int) -> Taken:
    """What the log does not have of what is known."""
    numbers = range(await log.partition_count())
    left = {id_ for number in numbers for id_ in await left_in(log, number)}
    ends = {number: await log.offset_at(MESSAGES, number, back_ms) for number in numbers}
    return Taken(frozenset(known - left), ends, back_ms)


async def tokens_hold(cluster: Processes | Server) -> None:
    """Whoever has said something reads it, or is told to come back: never a page without it."""
    token = mint(cluster.secret_file, "reader", 3_600)
    session = connected(cluster.connect_url, token, listen=False, timeout_s=90)
    async with session as reader:
        for number in range(10):
            id_ = await reader.send("listener", f"{number}")
            await eventually(partial(newest_is, reader, id_), within_s=90, every_s=0.2)


async def newest_is(reader: Client, id_: int) -> bool:
    """False where the history server says that it is behind, or none answers yet."""
    try:
        page = await reader.history("listener", 1)
    except ChatError as error:
        if not error.retriable:
            raise
        return False
    assert [each.id for each in page.messages] == [id_]
    return True


def assert_told(taken: Taken, entries: Sequence[Entry], mark: int) -> int:
    """Every device whose position is gone was told of a gap; how many were."""
    gone, told = stood_on_what_is_gone(taken, entries[:mark]), told_of_a_gap(entries[mark:])
    assert gone, "no device stood on what was lost"
    assert gone <= told, f"{gone - told} were told of no gap"
    return len(told)


def not_shown(entries: Sequence[Entry], rows: Sequence[Message]) -> int:
    """How often a device of a participant was not shown one of these, which the history has."""
    homes = homes_of(entries)
    shown = {(entry.who, id_) for entry in entries for _, id_ in shown_in([entry])}
    return sum(
        who.user_id in participants(row.chat_id) and (who, row.message_id) not in shown
        for row in rows
        for who in homes
    )


def sent_twice(taken: Taken, entries: Sequence[Entry]) -> int:
    """Sends that were taken with the log, and made again since they had no answer."""
    ids: dict[object, set[int]] = {}
    for key, id_ in shown_in(entries):
        ids.setdefault(key, set()).add(id_)
    return sum(bool(of & taken.ids) and bool(of - taken.ids) for of in ids.values())


async def known_holes(environment: dict[str, str]) -> list[dict[str, Any]]:
    """What operators are told: that the log has lost its end, of each partition once."""
    said = await command(environment, "holes", "list", "--json", code=1)
    holes = [json.loads(line) for line in said.splitlines()]
    assert {hole["reason"] for hole in holes} == {"lost"}
    assert len({hole["partition"] for hole in holes}) == len(holes), "one loss, one hole"
    return holes


def untold(ids: set[int] | frozenset[int], holes: list[dict[str, Any]]) -> set[int]:
    """What of these no hole names."""
    spans = {hole["partition"]: (int(hole["first_id"]), int(hole["last_id"])) for hole in holes}
    outside = ((id_, spans.get(partition_in(id_), (1, 0))) for id_ in ids)
    return {id_ for id_, (first, last) in outside if not first <= id_ <= last}


async def is_well(environment: dict[str, str]) -> bool:
    return "WRONG" not in await command(environment, "status", code=None)
