"""Bodies of calls over HTTP that are too large, come too slowly or not at all, and answers that
nobody reads: each costs the server little, and others are answered meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from cecochat.client import connect
from tests.bench.meter import rss_bytes
from tests.hostile.connections import WITHIN_S, Peer, answers, head, peer
from tests.support import operators
from tests.support.rawclient import mint
from tests.support.results import write
from tests.support.server import Server, running

CHAT = b'{"chatId": "d:alice~bob", "limit": 200}'
LONG = "x" * (16 << 10)
MESSAGES = 40
ASKED = 100
AT_ONCE = 4  # of one user
PLACES = 64  # of the server
HALTING = 2_000  # connections that stop after one byte
FLOOD_BYTES = 64 << 20
GREW_MAX_BYTES = 64 << 20
EVERY_S = 1.0
QUICK_S = 20.0


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    limits = {"queries.at_once_per_user": AT_ONCE, "queries.at_once_per_server": PLACES}
    async with running(tmp_path, configuration=limits) as server:
        yield server


@pytest.mark.parametrize(
    ("length", "piece"),
    [
        ("content-length: 1099511627776", b"x" * (1 << 16)),
        ("transfer-encoding: chunked", b"10000\r\n" + b"x" * (1 << 16) + b"\r\n"),
    ],
    ids=["a length of a terabyte", "chunks without an end"],
)
async def test_an_endless_body_is_refused(server: Server, length: str, piece: bytes) -> None:
    before = rss_bytes(server.pid)
    async with peer(server) as it:
        await it.say(head(server, "alice", length))
        flooding = asyncio.create_task(floods(it, piece))
        assert await it.status() == 429
        await it.ended()
        flooding.cancel()
    assert rss_bytes(server.pid) - before < GREW_MAX_BYTES
    assert await answers(server, "alice") == 200
    assert "Traceback" not in server.said


async def floods(it: Peer, piece: bytes) -> None:
    with suppress(ConnectionError):
        for _ in range(FLOOD_BYTES >> 16):
            await it.say(piece)


async def test_a_body_that_trickles_in_is_given_up(server: Server) -> None:
    """It holds one of its user's queries meanwhile, and no longer."""
    async with AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(peer(server)) for _ in range(AT_ONCE)]
        for it in slow:
            await it.say(head(server, "alice", "content-length: 10000"))
        trickling = asyncio.create_task(trickle(slow))
        async with asyncio.timeout(WITHIN_S):
            while await answers(server, "alice") != 429:
                pass  # all of them are under way
        assert await answers(server, "bob") == 200, "that is one user's limit"
        assert [await it.status() for it in slow] == [504] * AT_ONCE
        assert await answers(server, "alice") == 200
        trickling.cancel()


async def test_bodies_that_do_not_come_take_no_place(server: Server) -> None:
    """Many users together have more of them than the server has places for queries."""
    begun = [head(server, f"u{n}", "content-length: 60000") for n in range(HALTING // AT_ONCE)]
    async with AsyncExitStack() as stack:
        for each in begun * AT_ONCE:
            it = await stack.enter_async_context(peer(server))
            await it.say(each + b"{")
        assert [await answers(server, f"bob{n}") for n in range(PLACES)] == [200] * PLACES
        async with connect(server.connect_url, mint(server.secret_file, "carol")) as carol:
            assert (await carol.history("bob", limit=1)).messages == []


async def trickle(those: list[Peer]) -> None:
    while True:
        for it in those:
            with suppress(ConnectionError):
                await it.say(b" ")
        await asyncio.sleep(EVERY_S)


@pytest.mark.slow
async def test_who_was_refused_cannot_trickle_on(server: Server) -> None:
    """The rest of a body that nobody wants is waited for as long as a next request."""
    async with peer(server) as it:
        refused = head(server, "alice", "content-length: 10000").replace(b"Bearer ", b"Bearer x")
        await it.say(refused)
        assert await it.status() == 401
        trickling = asyncio.create_task(trickle([it]))
        async with asyncio.timeout(2 * WITHIN_S):
            with suppress(ConnectionError):
                while await it.reader.read(1 << 16):
                    pass
        trickling.cancel()


async def test_answers_that_nobody_reads_hold_little(server: Server) -> None:
    async with connect(server.connect_url, mint(server.secret_file, "alice")) as alice:
        for _ in range(MESSAGES):
            last = await alice.send("bob", LONG)
        assert (await alice.history("bob", limit=1)).messages[-1].id == last
    before = rss_bytes(server.pid)
    async with AsyncExitStack() as stack:
        held = [await stack.enter_async_context(peer(server, 1 << 12)) for _ in range(ASKED)]
        for it in held:
            await it.say(head(server, "alice", f"content-length: {len(CHAT)}") + CHAT)
        statuses = [await it.status() for it in held]
        grew = rss_bytes(server.pid) - before
        assert await answers(server, "bob") == 200
        assert set(statuses) == {200, 429}
        assert statuses.count(200) == AT_ONCE, "a query is under way until its answer has left"
        asked = [it for it, status in zip(held, statuses, strict=True) if status == 200]
        await asyncio.gather(*map(hung_up, asked))
        assert await answers(server, "alice") == 200
        assert await took_s(server) < QUICK_S, "the server is not slow, but who reads"
    print(write("hostile-bodies", {"grew_kb": grew >> 10, "answered": statuses.count(200)}))
    assert grew < GREW_MAX_BYTES


async def took_s(server: Server) -> float:
    """How long the server has taken to answer, in all."""
    async with operators.client() as client:
        text = (await client.get(f"{server.ready['health']['history']}/metrics")).text
    lines = [line for line in text.splitlines() if line.startswith("cecochat_query_seconds_sum")]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


async def hung_up(it: Peer) -> None:
    """Wait until the server has hung up on somebody who reads nothing."""
    async with asyncio.timeout(WITHIN_S):
        while not it.writer.transport.is_closing():
            await asyncio.sleep(0.1)  # nothing tells who does not read, but a write that fails
            with suppress(ConnectionError):
                await it.say(b"x")
