"""A cluster on the real backends, whose servers die, pause, move and restart while people talk.

A run counts only if the fault was seen: processes that are dead, partitions that have moved,
devices that were cut off, sends made again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest

from cecochat.adapters import build
from cecochat.ports.backplane import DEAD_LETTERS, Backplane, NewRecord
from cecochat.settings.settings import load
from cecochat.v1.history_pb2 import GetMessagesRequest
from tests.support.crowd import Crowd
from tests.support.eventually import eventually
from tests.support.evidence import Absence, absences, percentile
from tests.support.outages import PARTITIONS
from tests.support.processes import Processes, ServerProcess, processes
from tests.support.rawclient import NotFound, find, history
from tests.support.records import Acked, Delivered, Refused, Sent, is_group, participants
from tests.support.results import write
from tests.support.traffic import flowing, ring, volley

USERS = 30
RATE_PER_S = 50  # on two cores that other tests share; a volley meets each kill
MANY_PER_S = 150  # where nothing else runs
FAILED_OVER_S = 60.0  # what fails a run, on whatever machine


@asynccontextmanager
async def talking(
    cluster: Processes, rng: Random, rate_per_s: int = RATE_PER_S
) -> AsyncIterator[Crowd]:
    """Everybody connected and traffic flowing; at the end, all is quiet and judged."""
    crowd = Crowd(lambda: cluster.connect_url, cluster.secret_file, cluster.record)
    who, chats = ring(USERS)
    async with crowd.connected(who, chats):
        async with flowing(list(crowd.devices.values()), rate_per_s, rng):
            await flowing_on(crowd, 0, rate_per_s)
            yield crowd
            await flowing_on(crowd, len(crowd.record.entries), rate_per_s)
        assert await crowd.settle(within_s=90) == []


async def flowing_on(crowd: Crowd, since: int, rate_per_s: int) -> None:
    """Return once the acks of a second have come."""
    await eventually(lambda: count(crowd, since, Acked) > rate_per_s, within_s=60, every_s=0.1)


async def all_back(crowd: Crowd) -> None:
    """Everybody is caught up. A device that is not is shown with what it went through last."""

    def away() -> list[str]:
        return [
            f"{who}: {[entry[2:] for entry in crowd.record if entry.who == who][-4:]}"
            for who in crowd.online
            if not crowd.devices[who].caught_up.is_set()
        ]

    try:
        await eventually(lambda: not away(), within_s=180, every_s=0.2)
    except AssertionError as error:
        raise AssertionError("\n".join(away())) from error


def count(crowd: Crowd, since: int, kind: type) -> int:
    return sum(isinstance(entry.what, kind) for entry in crowd.record.entries[since:])


def report(name: str, seed: int, crowd: Crowd, **more: Any) -> dict[str, Any]:
    sent = {
        (e.who, e.what.client_message_id): e.what.chat_id
        for e in crowd.record
        if isinstance(e.what, Sent)
    }
    figures = {
        "seed": seed,
        "devices": len(crowd.devices),
        "messages": len(sent),
        "in_groups": sum(map(is_group, sent.values())),
        "sent_again": count(crowd, 0, Sent) - len(sent),
        "acked": count(crowd, 0, Acked),
        "delivered": count(crowd, 0, Delivered),
        "violations": 0,
        **more,
    }
    print(write(name, figures))
    return figures


def gaps(found: list[Absence]) -> dict[str, Any]:
    """How long devices were away."""
    lengths = [each.lasted_s for each in found]
    return {
        "absences": len(lengths),
        "gap_p50_s": round(percentile(lengths, 0.5), 3),
        "gap_p99_s": round(percentile(lengths, 0.99), 3),
        "codes": sorted({each.code for each in found}),
    }


@pytest.mark.parametrize(
    "times",
    [
        pytest.param(1, marks=pytest.mark.timeout(600)),
        pytest.param(10, marks=[pytest.mark.slow, pytest.mark.timeout(2_400)]),
    ],
)
async def test_servers_of_each_kind_are_killed(
    times: int, on_real: dict[str, str], tmp_path: Path, rng: Random, base_seed: int
) -> None:
    rate_per_s = MANY_PER_S if times > 1 else RATE_PER_S
    async with processes(tmp_path, on_real) as cluster, talking(cluster, rng, rate_per_s) as crowd:
        moved = []
        for service in ("messaging", "materialize", "history", "connect", "control") * times:
            victim = rng.choice(cluster.of(service))
            await asyncio.sleep(rng.uniform(0.5, 1.5))  # any moment
            before, old_pid = await cluster.owners(), victim.pid
            dead = victim.instance_id
            await volley(crowd.devices.values(), rng)
            assert await victim.kill() == -9
            mark = len(crowd.record.entries)
            if service == "messaging":
                moved.append(await failed_over(cluster, dead, before))
            if service in ("materialize", "history", "control"):
                await answered(cluster, crowd)  # others do its work, or none is needed
            await victim.start()
            assert victim.pid != old_pid
            await answered(cluster, crowd)
            await all_back(crowd)
            assert count(crowd, mark, Sent) > RATE_PER_S / 2, "hardly any traffic"
        away = absences(crowd.record.entries)
    assert len(moved) == times
    assert {each.code for each in away} >= {""}, "nobody noticed that a server died"
    found = report(f"cluster-kills-{times}", base_seed, crowd, failover_s=moved, **gaps(away))
    assert found["sent_again"] > 0, "no kill met a send under way"


async def answered(cluster: Processes, crowd: Crowd) -> None:
    """Somebody looks up where the history is, and gets a page; tried again as clients do."""
    chat = min(crowd.chats)
    token = crowd.token(min(participants(chat)))

    async def page() -> bool:
        try:
            route = await find(cluster.connect_url, token)
            async with history(route.history, token) as pages:
                request = GetMessagesRequest(chat_id=chat, limit=10)
                return bool((await pages.page(request)).messages)
        except (NotFound, grpc.aio.AioRpcError):
            return False

    await eventually(page, within_s=FAILED_OVER_S, every_s=0.2)


async def failed_over(cluster: Processes, dead: str, before: dict[str, str]) -> float:
    """Seconds until no partition is the dead server's any more, as the assignment says."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    lost = {partition for partition, owner in before.items() if owner == dead}
    assert lost, "it owned nothing: the kill shows nothing"

    async def moved() -> bool:
        return dead not in (await cluster.owners()).values()

    await eventually(moved, within_s=FAILED_OVER_S, every_s=0.1)
    return round(loop.time() - began, 2)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("moment", ["forward", "commit"])
async def test_killed_at_a_named_moment(
    moment: str,
    on_real: dict[str, str],
    tmp_path: Path,
    rng: Random,
    base_seed: int,
    thorough: bool,
) -> None:
    service, nth = {"forward": ("messaging", 80), "commit": ("materialize", 40)}[moment]
    async with processes(tmp_path, on_real) as cluster, talking(cluster, rng) as crowd:
        (victim, *_) = cluster.of(service)
        for _ in range(2 if thorough else 1):
            await victim.terminate()
            await victim.start(failpoint=f"{moment}:{rng.randint(nth // 2, nth * 2)}")
            await asyncio.wait_for(victim.ended(), 90)
            assert victim.process
            assert victim.process.returncode == -9, "it ended before it came there"
            mark = len(crowd.record.entries)
            await victim.start()
            await all_back(crowd)
            assert count(crowd, mark, Sent) > RATE_PER_S / 2, "hardly any traffic"
    report(f"cluster-kill-{moment}", base_seed, crowd)


@pytest.mark.timeout(300)
async def test_a_paused_owner_that_comes_back(
    on_real: dict[str, str], tmp_path: Path, rng: Random, base_seed: int, thorough: bool
) -> None:
    """Its partitions are taken over meanwhile, and what it then appends counts for nobody."""
    async with processes(tmp_path, on_real) as cluster, talking(cluster, rng) as crowd:
        victim = rng.choice(cluster.of("messaging"))
        before = await cluster.owners()
        victim.pause()
        failover_s = await failed_over(cluster, victim.instance_id, before)
        await asyncio.sleep(30 - failover_s if thorough else 5)
        mark = len(crowd.record.entries)
        victim.go_on()
        await all_back(crowd)
        await asyncio.sleep(5)
        assert victim.process
        assert victim.process.returncode is None, "it lives on"
        assert count(crowd, mark, Acked) > 0
    report("cluster-pause", base_seed, crowd, failover_s=failover_s)


@pytest.mark.timeout(300)
async def test_half_of_the_partitions_are_handed_over(
    on_real: dict[str, str], tmp_path: Path, rng: Random, base_seed: int
) -> None:
    """A second server joins and gets its share."""
    counts = {"control": 1, "messaging": 1, "materialize": 1, "history": 1, "connect": 1}
    async with processes(tmp_path, on_real, counts) as cluster, talking(cluster, rng) as crowd:
        new = await cluster.add("messaging-2")
        await shared(cluster, new)
        # The old owner may read the takeover after the new one, and then moves its clients.
        await eventually(lambda: absences(crowd.record.entries), within_s=60, every_s=0.2)
        await all_back(crowd)
        away = absences(crowd.record.entries)
    assert not count(crowd, 0, Refused)
    report("cluster-handoff", base_seed, crowd, **gaps(away))


async def shared(cluster: Processes, server: ServerProcess) -> None:
    async def half() -> bool:
        owners = list((await cluster.owners()).values())
        return owners.count(server.instance_id) == len(owners) // 2

    await eventually(half, within_s=60, every_s=0.2)


@pytest.mark.timeout(600)
async def test_every_server_is_restarted_in_turn(
    on_real: dict[str, str], tmp_path: Path, rng: Random, base_seed: int
) -> None:
    async with processes(tmp_path, on_real) as cluster, talking(cluster, rng) as crowd:
        for server in list(cluster.servers.values()):
            assert await server.terminate() == 0
            await server.start()
            if server.service == "messaging":
                await shared(cluster, server)
            await all_back(crowd)
        away = absences(crowd.record.entries)
    assert not count(crowd, 0, Refused)
    report("cluster-rolling-restart", base_seed, crowd, **gaps(away))


@pytest.mark.timeout(300)
async def test_a_poison_record_is_buried_and_its_partition_goes_on(
    on_real: dict[str, str], tmp_path: Path, rng: Random, base_seed: int
) -> None:
    counts = {"control": 1, "messaging": 1, "materialize": 2, "history": 1, "connect": 1}
    async with (
        processes(tmp_path, on_real, counts) as cluster,
        talking(cluster, rng) as crowd,
        build.backplane(load(on_real)) as log,
    ):
        buried_s = [await bury(log, partition) for partition in range(PARTITIONS)]
    report("cluster-poison", base_seed, crowd, buried_s=buried_s)


async def bury(log: Backplane, partition: int) -> float:
    """Seconds from a record that nobody can read to its letter."""
    loop = asyncio.get_running_loop()
    producer = await log.producer()
    async with aclosing(log.read(DEAD_LETTERS, partition, 0)) as letters:
        began = loop.time()
        await producer.append([NewRecord(partition, b"who", b"what", (("v", "?"),))])
        async with asyncio.timeout(30):
            (letter,) = await anext(letters)
    await producer.close()
    assert letter.value == b"what"
    assert dict(letter.headers)["position"].startswith(f"{partition}:")
    return round(loop.time() - began, 3)
