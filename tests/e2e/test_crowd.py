"""How a run is brought to rest and judged: what is late is no loss, and what never came is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.crowd import Crowd
from tests.support.eventually import eventually
from tests.support.fakeserver import FakeServer, fake_server
from tests.support.oracle import Kind
from tests.support.records import DeviceKey, dialog

ALICE, BOB = DeviceKey("alice", "phone"), DeviceKey("bob", "phone")
AB = dialog("alice", "bob")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[FakeServer]:
    async with fake_server(tmp_path) as server:
        yield server


async def test_what_is_acknowledged_after_the_history_was_read_is_no_loss(
    server: FakeServer,
) -> None:
    """The server is so slow that the first reading of the history comes before it accepts."""
    crowd = Crowd(lambda: server.connect_url, server.secret_file, transport="grpc")
    async with crowd.connected([ALICE, BOB], [AB]):
        server.taking.clear()
        async with asyncio.TaskGroup() as group:
            settling = group.create_task(crowd.settle(within_s=2))
            await eventually(lambda: server.pages >= 2)
            server.taking.set()
        assert settling.result() == []


async def test_a_send_without_an_answer_is_said_before_what_follows_from_it(
    server: FakeServer,
) -> None:
    crowd = Crowd(lambda: server.connect_url, server.secret_file, transport="grpc")
    async with crowd.connected([ALICE, BOB], [AB]):
        crowd.devices[ALICE].say(AB, "heard")
        await crowd.answered()
        server.log.clear()
        server.taking.clear()
        found = [violation.kind for violation in await crowd.settle(within_s=0.3)]
        server.taking.set()
    assert found[:2] == [Kind.UNANSWERED, Kind.UNANSWERED]  # the last word of each
    assert Kind.LOST_FROM_HISTORY in found[2:]
