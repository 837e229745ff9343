"""The raw client and the devices of the tests, on a tiny server, right or wrong on purpose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cecochat.v1.messaging_pb2 import ServerItem
from tests.support.crowd import Crowd
from tests.support.fakeserver import FakeServer, Spoil, fake_server
from tests.support.oracle import Kind
from tests.support.pipes import GrpcPipe
from tests.support.rawclient import RawConnection, find, mint
from tests.support.records import (
    CaughtUp,
    Delivered,
    DeviceKey,
    GapFilled,
    GapTold,
    Hello,
    Record,
    Sent,
    Welcomed,
    dialog,
)
from tests.support.texts import real_texts

ALICE, BOB = DeviceKey("alice", "phone"), DeviceKey("bob", "phone")
AB = dialog("alice", "bob")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[FakeServer]:
    async with fake_server(tmp_path) as server:
        yield server


def crowd_on(server: FakeServer) -> Crowd:
    return Crowd(lambda: server.connect_url, server.secret_file, transport="grpc")


@asynccontextmanager
async def alice_and_bob(server: FakeServer) -> AsyncIterator[Crowd]:
    crowd = crowd_on(server)
    async with crowd.connected([ALICE, DeviceKey("alice", "laptop"), BOB], [AB]):
        yield crowd


async def test_a_connection_gives_frames_as_they_are(server: FakeServer) -> None:
    token = mint(server.secret_file, "alice")
    route = await find(server.connect_url, token)
    record = Record()
    connection = RawConnection(GrpcPipe(route.messaging, token), record, ALICE, 1)
    await connection.hello(None)
    items = [*await connection.read()]
    assert items[0].welcome.user_id == "alice"
    await connection.close()
    assert [type(entry.what) for entry in record][:2] == [Hello, Welcomed]


async def test_talk_over_restarts_is_judged_good(server: FakeServer) -> None:
    async with alice_and_bob(server) as crowd:
        for text in real_texts()[:200]:
            crowd.devices[ALICE].say(AB, text)
            crowd.devices[BOB].say(AB, text)
            if len(text) % 29 == 0:
                await server.stop()
                await server.start()
                crowd.devices[ALICE].say(AB, "in between")
            await asyncio.sleep(0)
        assert await crowd.settle() == []
    assert any(entry.connection > 1 for entry in crowd.record)
    attempts = [
        entry.what.client_message_id for entry in crowd.record if isinstance(entry.what, Sent)
    ]
    assert len(attempts) > len(set(attempts)), "nothing was sent again"


def dropping(user_id: str) -> Spoil:
    """Every fifth delivery to that user is lost on the way."""
    delivered = 0

    def spoil(to: str, item: ServerItem) -> list[ServerItem]:
        nonlocal delivered
        if to != user_id or not item.HasField("delivered"):
            return [item]
        delivered += 1
        return [] if delivered % 5 == 0 else [item]

    return spoil


def doubling(user_id: str, item: ServerItem) -> list[ServerItem]:
    return [item, item] if item.HasField("delivered") else [item]


@pytest.mark.parametrize(
    ("spoil", "kind"), [(dropping("bob"), Kind.LOST_ON_DEVICE), (doubling, Kind.DELIVERED_TWICE)]
)
async def test_a_wrong_server_is_found_out(server: FakeServer, spoil: Spoil, kind: Kind) -> None:
    server.spoil = spoil
    async with alice_and_bob(server) as crowd:
        for text in real_texts()[:20]:
            crowd.devices[ALICE].say(AB, text)
        assert kind in {violation.kind for violation in await crowd.settle(within_s=2)}


async def test_a_gap_is_filled_from_the_history_with_its_token(server: FakeServer) -> None:
    crowd = crowd_on(server)
    async with crowd.connected([BOB], [AB]):
        pass
    async with crowd.connected([ALICE], [AB]):
        for text in real_texts()[:150]:
            crowd.devices[ALICE].say(AB, text)
        await crowd.answered()
        server.start_offset, server.behind_once = 120, True
        async with crowd.connected([BOB], [AB]):
            assert await crowd.settle() == []
    happened = [type(entry.what) for entry in crowd.record if entry.who == BOB]
    later = happened[happened.index(GapTold) :]
    assert later[:2] == [GapTold, GapFilled]
    assert CaughtUp in later
    assert Delivered in later


def test_the_real_texts_are_many_and_varied() -> None:
    assert len(real_texts()) > 1_000
    assert any(not text.isascii() for text in real_texts())
