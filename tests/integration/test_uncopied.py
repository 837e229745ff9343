"""An owner that finds its partition cut above what was forwarded: it forwards all that is left, and
tells what its recipients may lack.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cecochat.domain.log.ids import UserId, dialog
from cecochat.ports.backplane import FORWARD_GROUP, MESSAGES
from cecochat.ports.history import Hole
from cecochat.ports.reading import first_known
from cecochat.servers.materialize.main import materialize
from cecochat.servers.messaging import watermarks
from cecochat.v1.messaging_pb2 import Position
from tests.integration.cluster import Cluster, cluster, user_on
from tests.integration.streams import message
from tests.support import operators
from tests.support.eventually import eventually

ALICE, BOB = user_on(0), user_on(1)
CHAT = dialog(UserId(ALICE), UserId(BOB))
TEXTS = [f"m{number}" for number in range(1_100)]
"""Enough for a state record."""
CUT = 301  # offset 0 is the takeover


async def holes(servers: Cluster) -> list[Hole]:
    assert servers.parts.history
    return await servers.parts.history.holes()


async def owns_the_first(servers: Cluster, server_id: str) -> bool:
    async with operators.client() as client:
        answer = await client.get(f"{servers.servers[server_id].health_url}/partitions")
    return "0" in answer.json()["owned"]


@pytest.mark.timeout(420)
async def test_a_new_owner_forwards_all_that_is_left_and_tells_what_is_not(
    tmp_path: Path, kafka: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with cluster(tmp_path, kafka, retention_ms=1) as servers:
        log = servers.parts.backplane
        await servers.assign("one")
        (await servers.start("one")).stalled[1] = asyncio.Event()
        async with servers.stream("one", ALICE) as alice:
            for first in range(0, len(TEXTS), 100):
                await alice.send(*(message(text, CHAT) for text in TEXTS[first : first + 100]))
            await alice.until_acks(len(TEXTS))

        async def stated() -> bool:
            _, end = await log.bounds(MESSAGES, 0)
            return end > len(TEXTS) + 1

        async def committed() -> bool:
            return await log.committed(FORWARD_GROUP, MESSAGES, 0) is not None

        await eventually(stated)
        await eventually(committed)
        place = await log.committed(FORWARD_GROUP, MESSAGES, 0)
        assert place
        forwarded = place.offset
        await log.release(MESSAGES, 0, CUT)
        await log.trim()
        assert (await log.bounds(MESSAGES, 0))[0] == CUT
        assert await first_known(log, 0) > CUT, "the rest is known by what comes later"
        await servers.start("two")
        await servers.assign("two")
        at_first = Position(log_id=await log.log_id(), partition=1, offset=-1)

        async def taken_over() -> bool:
            return bool(await holes(servers))

        await eventually(taken_over)
        (hole,) = await holes(servers)
        assert (hole.reason, hole.partition) == ("uncopied", 0)
        assert (hole.first_offset, hole.last_offset) == (forwarded, CUT - 1)
        assert f"from {forwarded} to {CUT - 1} before they were copied" in caplog.text
        async with servers.stream("two", BOB, at_first) as bob:
            assert await bob.until_texts(len(TEXTS) - CUT + 1) == TEXTS[CUT - 1 :]
        assert len(await holes(servers)) == 1


async def test_what_is_said_after_a_cut_arrives_where_earlier_messages_are_lost(
    tmp_path: Path, kafka: str
) -> None:
    """The recipients' owner asks for what it lacks. What is left of that proves nothing, and what
    is to be brought stands behind it.
    """
    async with cluster(tmp_path, kafka, retention_ms=1) as servers:
        log = servers.parts.backplane
        owners = {"0": "one", "1": "three", "2": "three", "3": "three"}
        await servers.put_assignment(owners)
        faults, _ = await servers.start("one"), await servers.start("three")
        async with servers.stream("three", BOB) as bob:
            async with servers.stream("one", ALICE) as alice:
                await alice.send(*(message(text, CHAT) for text in TEXTS[:5]))
                await alice.until_acks(5)
                await bob.until_texts(5)
                faults.stalled[1] = asyncio.Event()
                await alice.send(*(message(text, CHAT) for text in TEXTS[5:20]))
                await alice.until_acks(20)
            await asyncio.sleep(0.01)
            await log.release(MESSAGES, 0, 11)
            await log.trim()
            await servers.start("two")
            await servers.put_assignment(owners | {"0": "two"})
            await eventually(lambda: owns_the_first(servers, "two"))
            async with servers.stream("two", ALICE) as alice:
                await alice.send(message("after", CHAT))
                await alice.until_acks(1)
                assert await bob.until_texts(6) == [*TEXTS[:5], "after"]


async def test_who_waits_for_a_state_record_gets_one_soon(
    tmp_path: Path, kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an owner that lives on over the trim, and would append the next in an hour."""
    monkeypatch.setattr(watermarks, "STORE_EVERY_S", 0.05)
    async with cluster(tmp_path, kafka, retention_ms=1, materializes=False) as servers:
        log = servers.parts.backplane
        await servers.assign("one")
        await servers.start("one")
        async with servers.stream("one", ALICE) as alice:
            await alice.send(*(message(text, CHAT) for text in TEXTS[:20]))
            await alice.until_acks(20)
            await asyncio.sleep(0.01)
            await log.release(MESSAGES, 0, 11)
            await log.trim()
            async with materialize(servers.parts, "late"):
                await alice.send(*(message(text, CHAT) for text in TEXTS[20:25]))
                await alice.until_acks(5)
                await eventually(lambda: stored(servers))
            (hole,) = await holes(servers)
            assert (hole.reason, hole.last_offset) == ("trimmed", 10)


async def stored(servers: Cluster) -> bool:
    assert servers.parts.history
    page = await servers.parts.history.messages(CHAT, before=None, after=0, limit=50)
    return len(page.events) == 15
