"""A materialize server that cannot read the log for a while: the rows come later, all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from cecochat.domain.errors import CecochatError, Trimmed, Unavailable
from cecochat.domain.ids import UserId, dialog
from cecochat.materialize import worker
from cecochat.v1.events_pb2 import Event
from tests.integration.cluster import Cluster, Faults, cluster, user_on
from tests.integration.streams import message
from tests.support.eventually import eventually

SENDER = user_on(1)  # of the partitions that the second member of the group gets
CHAT = dialog(UserId("bob"), UserId(SENDER))


async def stored(servers: Cluster) -> list[str]:
    assert servers.parts.history
    page = await servers.parts.history.messages(CHAT, before=None, after=0, limit=10)
    return [Event.FromString(event).message.text for event in page.events]


async def has(servers: Cluster, texts: list[str]) -> bool:
    return await stored(servers) == texts


@pytest.mark.parametrize("error", [Unavailable, lambda _: Trimmed(1, 0, 1)])
async def test_a_log_that_cannot_be_read_is_read_again(
    tmp_path: Path, error: Callable[[str], CecochatError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "RETRY_S", (0.01,))
    faults = Faults(unavailable={"read"}, error=error)
    async with cluster(tmp_path) as servers:
        await servers.assign("one")
        await servers.start("one")
        parts = servers.parts_with(faults)
        assert parts.history
        second = worker.Materializer(
            parts.backplane, parts.history, await parts.backplane.log_id(), CollectorRegistry()
        )
        running = asyncio.create_task(second.run())
        async with servers.stream("one", SENDER) as stream:
            await stream.send(message("one", CHAT), message("two", CHAT))
            await stream.until_acks(2)
            await eventually(lambda: faults.failed >= 2)
            assert await stored(servers) == []
            faults.unavailable.clear()
            await eventually(lambda: has(servers, ["one", "two"]))
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()


async def test_who_waits_for_the_database_says_how_far_it_is_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LAG_EVERY_S", 0.02)

    async def away(_: object, log_id: str) -> dict[int, int]:
        raise Unavailable("the database is away")

    async with cluster(tmp_path) as servers:
        await servers.assign("one")
        await servers.start("one")
        parts, registry = servers.parts, CollectorRegistry()
        assert parts.history
        monkeypatch.setattr(type(parts.history), "progress", away)
        second = worker.Materializer(
            parts.backplane, parts.history, await parts.backplane.log_id(), registry
        )
        running = asyncio.create_task(second.run())
        await eventually(lambda: second.not_ready)
        async with servers.stream("one", SENDER) as stream:
            await stream.send(*(message(str(number), CHAT) for number in range(9)))
            await stream.until_acks(9)
        lag = "cecochat_materialize_lag_records"
        await eventually(lambda: (registry.get_sample_value(lag) or 0) >= 9)
        running.cancel()
        await asyncio.wait([running])
        assert second.not_ready is None


async def test_who_waits_with_rows_says_how_old_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "RETRY_S", (0.01,))
    async with cluster(tmp_path) as servers:
        await servers.assign("one")
        await servers.start("one")
        parts, registry = servers.parts, CollectorRegistry()
        assert parts.history
        write = type(parts.history).write
        second = worker.Materializer(
            parts.backplane, parts.history, await parts.backplane.log_id(), registry
        )
        running = asyncio.create_task(second.run())
        await eventually(lambda: registry.get_sample_value("cecochat_partitions_materialized"))

        async def away(*_: object) -> None:
            raise Unavailable("the database is away")

        monkeypatch.setattr(type(parts.history), "write", away)
        begun_s = time.time()
        async with servers.stream("one", SENDER) as stream:
            await stream.send(message("one", CHAT))
            await stream.until_acks(1)

        def lag_s() -> float:
            return registry.get_sample_value("cecochat_materialize_lag_seconds") or 0

        await eventually(lambda: lag_s() > 0.05)
        assert lag_s() <= time.time() - begun_s + 0.01
        monkeypatch.setattr(type(parts.history), "write", write)
        await eventually(lambda: lag_s() == 0)
        await eventually(lambda: has(servers, ["one"]))
        running.cancel()
        await asyncio.wait([running])


async def test_a_write_under_way_ends_before_its_partition_goes_to_another() -> None:
    begun, done = asyncio.Event(), asyncio.Event()

    async def write() -> None:
        begun.set()
        await asyncio.sleep(0.05)
        done.set()

    working = asyncio.create_task(worker._to_its_end(write()))
    await begun.wait()
    working.cancel()
    await asyncio.wait([working])
    assert working.cancelled()
    assert done.is_set()
