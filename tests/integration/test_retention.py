"""What the log drops waits for the history, however old it is; on SQLite and on Kafka."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from cecochat.adapters.embedded import backend as embedded_backend
from cecochat.adapters.kafka import backend as kafka_backend
from cecochat.domain.log.ids import UserId, dialog
from cecochat.domain.ownership.owner import Owner
from cecochat.ports.backplane import FORWARD_GROUP, MESSAGES
from cecochat.servers.materialize.main import materialize
from cecochat.servers.messaging import watermarks
from cecochat.servers.messaging.watermarks import Watermarks
from cecochat.v1.events_pb2 import Event
from tests.integration.cluster import PARTITIONS, Cluster, cluster, user_on
from tests.integration.streams import message
from tests.support.eventually import eventually

ALICE, BOB = user_on(0), user_on(1)
CHAT = dialog(UserId(ALICE), UserId(BOB))
TEXTS = [f"m{number}" for number in range(2_200)]
"""Enough for two state records: nothing is released that lies above the last."""


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each time that a server has released what it may; it does so all the time."""
    counted: list[int] = []
    release = Watermarks._release

    async def seen(self: Watermarks, owners: Mapping[int, Owner]) -> None:
        await release(self, owners)
        counted.append(len(owners))

    monkeypatch.setattr(Watermarks, "_release", seen)
    monkeypatch.setattr(watermarks, "STORE_EVERY_S", 0.05)
    monkeypatch.setattr(watermarks, "RELEASE_EVERY", 1)
    monkeypatch.setattr(embedded_backend, "TRIM_EVERY_S", 0.05)
    monkeypatch.setattr(kafka_backend, "TRIM_EVERY_S", 0.05)
    return counted


async def starts(servers: Cluster) -> list[int]:
    log = servers.parts.backplane
    return [(await log.bounds(MESSAGES, partition))[0] for partition in range(PARTITIONS)]


async def forwarded(servers: Cluster) -> bool:
    log = servers.parts.backplane
    _, end = await log.bounds(MESSAGES, 0)
    committed = await log.committed(FORWARD_GROUP, MESSAGES, 0)
    return committed is not None and committed.offset == end


async def stored(servers: Cluster) -> list[str]:
    """The texts of the chat that the history has."""
    assert servers.parts.history
    events: list[Event] = []
    more = True
    while more:
        after = events[-1].id if events else 0
        page = await servers.parts.history.messages(CHAT, before=None, after=after, limit=1_000)
        events += [Event.FromString(each) for each in page.events]
        more = page.has_more
    return [event.message.text for event in events]


@pytest.mark.timeout(420)
async def test_nothing_goes_while_nobody_materializes_and_then_the_history_has_all_of_it(
    tmp_path: Path, kafka: str, passes: list[int]
) -> None:
    async with cluster(tmp_path, kafka, materializes=False, retention_ms=1) as servers:
        await servers.assign("one")
        faults = await servers.start("one")
        async with servers.stream("one", ALICE) as alice:
            for first in range(0, len(TEXTS), 100):
                await alice.send(*(message(text, CHAT) for text in TEXTS[first : first + 100]))
            await alice.until_acks(len(TEXTS))
        await eventually(lambda: forwarded(servers))
        since = len(passes)
        await eventually(lambda: len(passes) >= since + 2)
        await servers.parts.backplane.trim()
        assert await starts(servers) == [0] * PARTITIONS
        async with materialize(servers.parts, "late"):

            async def all_stored() -> bool:
                return await stored(servers) == TEXTS

            async def trimmed() -> bool:
                return (await starts(servers))[0] > len(TEXTS) // 2

            async def asked_no_more() -> bool:
                faults.failed, asking = 0, len(passes)
                faults.unavailable.add("committed")
                await eventually(lambda: len(passes) >= asking + 2)
                faults.unavailable.clear()
                return faults.failed == 0

            await eventually(all_stored, within_s=60)
            await eventually(trimmed)
            await eventually(asked_no_more)  # all is released, and nothing new is there
