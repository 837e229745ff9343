"""A materialize server that cannot read the log for a while: the rows come later, all of them."""

from __future__ import annotations

import asyncio
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
