"""What an owner of partitions waits for, and for how long; neither a log nor others are needed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from cecochat.documents.follow import Following
from cecochat.domain.errors import ProducerEnded
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.limits import OwnerLimits
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Copied, State, Takeover
from cecochat.domain.ownership.asks import Answer, Asked
from cecochat.domain.ownership.owner import Owner
from cecochat.ports.backplane import Log
from cecochat.ports.discovery import Instance
from cecochat.servers.messaging import ownership, partition
from cecochat.servers.messaging.host import Host
from cecochat.servers.messaging.loading import Loading
from cecochat.servers.messaging.metrics import MessagingMetrics
from cecochat.servers.messaging.ownership import Ownership
from cecochat.servers.messaging.partition import OwnedPartition
from tests.support.eventually import eventually

UNUSED: Any = None
LATER = Takeover("two", "a session", 2)
LARGE = State(0, Place(0, 0), 0, 0, dict.fromkeys(range(1 << 17), Copied(Place(0, 1 << 62), 1)))
"""Over half of what may wait."""


async def nobody(_: int, __: Asked) -> Answer | None:
    """No home answers."""
    return None


def owned_partition(backplane: Any = UNUSED) -> OwnedPartition:
    host = Host("one", Log(backplane, "log", 1), MessagingMetrics(CollectorRegistry()))
    return OwnedPartition(host, 0, 1, on_ready=lambda: None, ask=nobody)


class StuckProducer:
    """One of its targets has no leader."""

    async def close(self) -> None:
        await asyncio.Event().wait()


class Stuck:
    async def producer(self) -> StuckProducer:
        return StuckProducer()


async def test_a_target_that_is_down_delays_no_takeover(monkeypatch: pytest.MonkeyPatch) -> None:
    async def served(*_: object) -> Takeover:
        return LATER

    async def loaded(_: object) -> Owner:
        return Owner(0, "session", Fold(), cursor=0, forwarded=-1, limits=OwnerLimits())

    monkeypatch.setattr(partition, "CLOSE_S", 0.01)
    monkeypatch.setattr(Loading, "load", loaded)
    monkeypatch.setattr(OwnedPartition, "_serve", served)
    async with asyncio.timeout(60):
        assert await owned_partition(Stuck()).run() == LATER


async def test_senders_that_waited_for_room_do_not_overrun_it() -> None:
    appending = owned_partition().appending
    taken = 0

    async def send() -> None:
        nonlocal taken
        await appending.room()
        taken += 1
        appending.queue(LARGE)

    appending._room.clear()
    async with asyncio.TaskGroup() as group:
        senders = [group.create_task(send()) for _ in range(5)]
        await asyncio.sleep(0)
        appending._room.set()
        await eventually(lambda: not appending._room.is_set())
        for sender in senders:
            sender.cancel()
    assert taken == 2


def owning(*live: Instance, name: str = "one") -> tuple[Ownership, list[Instance]]:
    known = list(live)
    registry = CollectorRegistry()
    log, metrics = Log(UNUSED, "log", 1), MessagingMetrics(registry)
    host = Host(name, log, metrics, live=lambda: tuple(known))
    return Ownership(host, Following(UNUSED, registry)), known


async def test_the_last_server_to_stop_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    owner, others = owning(Instance("messaging", "two", "here:1", "http://here:1", "1"))
    monkeypatch.setattr(Ownership, "owners", lambda _: {0: UNUSED})
    monkeypatch.setattr(ownership, "LOOK_AGAIN_S", 0.01)
    handing = asyncio.create_task(owner.hand_over(1_000))
    await asyncio.sleep(0)
    assert not handing.done()
    others.clear()
    async with asyncio.timeout(60):
        await handing


async def test_failures_are_forgotten_where_another_server_owns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = 0

    async def run(_: OwnedPartition) -> Takeover:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise ProducerEnded("the test says so")
        return LATER

    monkeypatch.setattr(OwnedPartition, "run", run)
    monkeypatch.setattr(ownership, "RETRY_S", 0)
    monkeypatch.setattr(ownership, "FAILING_S", 0)
    owner, _ = owning()
    owner._assigned, owner._started = {0: 1}, True
    keeping = asyncio.create_task(owner._keep(0))
    await eventually(lambda: runs == 2 and not owner._failing)
    owner._assigned = {0: 3}  # it is given back, and not yet taken over
    assert owner.not_ready is None
    keeping.cancel()
    await asyncio.wait([keeping])


@pytest.mark.parametrize(
    ("name", "version", "waits", "told"),
    [
        ("one", 1, True, 2),
        ("one", 2, True, 3),  # of two contents of one version the higher name has it
        ("zoe", 2, False, 2),
        ("one", 3, False, 2),
    ],
)
async def test_who_was_taken_over_from_needs_a_later_claim(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    version: int,
    waits: bool,
    told: int,
) -> None:
    """And control is told above which version of the assignment the next one has to lie."""
    runs = 0

    async def run(_: OwnedPartition) -> Takeover:
        nonlocal runs
        runs += 1
        if runs > 1:
            await asyncio.Event().wait()
        return LATER

    monkeypatch.setattr(OwnedPartition, "run", run)
    monkeypatch.setattr(ownership, "RETRY_S", 0)
    owner, _ = owning(name=name)
    owner._assigned = {0: version}
    keeping = asyncio.create_task(owner._keep(0))
    await eventually(lambda: runs == 2 or "waits for a later version" in caplog.text)
    assert (runs == 1, owner._memory.taken_over) == (waits, told)
    owner._assigned = {0: LATER.assignment_version + 1}
    owner._reassigned.set()
    await eventually(lambda: runs == 2)
    keeping.cancel()
    await asyncio.wait([keeping])
