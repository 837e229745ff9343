"""Answers that nobody reads: they keep no place from others, and together hold a bounded amount."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path

import pytest

from cecochat.client import connect
from cecochat.runtime.unread import UNREAD_MAX_BYTES
from cecochat.v1.history_pb2 import GetMessagesRequest
from tests.bench.meter import rss_bytes
from tests.hostile import http2
from tests.hostile.answers import ask, close_window
from tests.hostile.connections import WITHIN_S, Peer, answers, head, peer
from tests.support.eventually import eventually
from tests.support.hostile import metric
from tests.support.rawclient import mint
from tests.support.records import dialog
from tests.support.results import write
from tests.support.server import Server, running

PAIRS = (("alice", "bob"), ("carol", "dave"))
USERS = [user for pair in PAIRS for user in pair]
AT_ONCE = 64  # of one user
PLACES = 16  # of the server
WINDOW_BYTES = 4 << 10
LONG = "\x01" * (16 << 10)  # in JSON, each of them is six bytes
MESSAGES = 40
BESIDE_BYTES = 40 << 20  # what Python takes for making answers

Unread = Callable[[AsyncExitStack, Server, str, str, int], Awaitable[object]]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    limits = {
        "queries.at_once_per_user": AT_ONCE,
        "queries.at_once_per_server": PLACES,
        "queries.burst": 10_000,
    }
    async with running(tmp_path, configuration=limits) as server:
        for one, other in PAIRS:
            async with connect(server.connect_url, mint(server.secret_file, one)) as client:
                for _ in range(MESSAGES):
                    last = await client.send(other, LONG)
                assert (await client.history(other, limit=1)).messages[-1].id == last
        yield server


async def over_http(
    stack: AsyncExitStack, server: Server, user: str, other: str, count: int
) -> list[Peer]:
    body = b'{"chatId": "%s", "limit": 200}' % dialog(user, other).encode()
    those = [await stack.enter_async_context(peer(server, WINDOW_BYTES)) for _ in range(count)]
    for it in those:
        await it.say(head(server, user, f"content-length: {len(body)}") + body)
        assert await it.status() == 200
    return those


async def over_grpc(
    stack: AsyncExitStack, server: Server, user: str, other: str, count: int
) -> http2.Peer:
    held = await stack.enter_async_context(http2.peer(server.ready["history"]))
    await close_window(held)
    token, request = mint(server.secret_file, user), GetMessagesRequest(limit=200)
    request.chat_id = dialog(user, other)
    with suppress(ConnectionError):  # it may be cut off meanwhile
        for number in range(count):
            await ask(held, "GetMessages", token, request, 2 * number + 1)
            await eventually(partial(are_answered, held, number + 1), WITHIN_S)
    return held


def are_answered(held: http2.Peer, count: int) -> bool:
    return held.ended or http2.kinds(held.heard).count(http2.HEADERS) >= count


@pytest.mark.parametrize("unread", [over_http, over_grpc])
async def test_they_keep_no_place_from_others(server: Server, unread: Unread) -> None:
    """A few users together leave as many answers unread as the server has places."""
    async with AsyncExitStack() as stack:
        for one, other in [*PAIRS, *(pair[::-1] for pair in PAIRS)]:
            await unread(stack, server, one, other, PLACES // 2)
        assert await answers(server, "erin") == 200
        async with connect(server.connect_url, mint(server.secret_file, "frank")) as frank:
            assert (await frank.history("erin", limit=1)).messages == []


@pytest.mark.parametrize(("unread", "count"), [(over_http, 16), (over_grpc, AT_ONCE)])
async def test_they_hold_a_bounded_amount(server: Server, unread: Unread, count: int) -> None:
    """Those who leave most unread lose it, and others can read meanwhile."""
    before = rss_bytes(server.pid)
    async with AsyncExitStack() as stack:
        for one, other in [*PAIRS, *(pair[::-1] for pair in PAIRS)]:
            await unread(stack, server, one, other, count)
        grew = rss_bytes(server.pid) - before
        assert await answers(server, "erin") == 200
        async with connect(server.connect_url, mint(server.secret_file, "frank")) as frank:
            assert (await frank.history("erin", limit=1)).messages == []
    health = server.ready["health"]["history"]
    assert await metric(health, "cecochat_unread_answers_given_up_total")
    print(write(f"hostile-unread-{unread.__name__}", {"grew_kb": grew >> 10}))
    assert grew < UNREAD_MAX_BYTES + BESIDE_BYTES
    assert "Traceback" not in server.said
