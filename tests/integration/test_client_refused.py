"""The Python client and tokens, addresses, chats and states that will not do."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path

import pytest

from cecochat.auth.minting import mint
from cecochat.client import (
    CaughtUp,
    NotReachable,
    Reconnecting,
    Refused,
    SendRejected,
    StateInUse,
    StateUnusable,
    connect,
    find_route,
)
from tests.integration.clients import device, next_of
from tests.integration.systems import Running
from tests.support.eventually import eventually
from tests.support.server import free_ports

LIFETIME_S = 10.0  # longer than a busy machine takes to connect, and to renew a token


async def test_a_token_is_renewed_before_it_expires(up: Running) -> None:
    lifetimes = iter([LIFETIME_S, 3_600.0, 3_600.0, 3_600.0])
    given: list[float] = []

    async def token() -> str:
        given.append(next(lifetimes))
        return up.token("alice", given[-1])

    expires_at_s = time.time() + LIFETIME_S
    async with connect(up.addresses.connect, token) as alice:
        await next_of(alice, CaughtUp)
        await eventually(lambda: time.time() > expires_at_s + 1)
        await alice.send("bob", "still here")
        events = asyncio.create_task(anext(alice))
        await alice.send("bob", "no reconnect in between")
        assert not events.done()
        events.cancel()
    assert given == [LIFETIME_S, 3_600.0]


async def test_an_expired_token_that_cannot_be_renewed_ends_the_client(up: Running) -> None:
    async with connect(up.addresses.connect, up.token("alice", LIFETIME_S)) as alice:
        with pytest.raises(Refused, match="expired") as refused:
            await next_of(alice, Reconnecting)
        assert refused.value.code == "token_expired"
        with pytest.raises(Refused, match="expired"):
            await alice.send("bob", "too late")


async def test_a_wrong_token_is_refused(up: Running) -> None:
    stranger = mint(b"some other secret of at least thirty-two bytes", "alice", 60)
    with pytest.raises(Refused) as refused:
        async with connect(up.addresses.connect, stranger):
            pass
    assert refused.value.code == "unauthenticated"
    assert not refused.value.retriable


async def test_where_nothing_answers_it_says_so_in_time() -> None:
    port = free_ports()["CECOCHAT_CONNECT_PORT"]
    began_s = time.monotonic()
    with pytest.raises(NotReachable, match=f"127.0.0.1:{port}"):
        async with connect(f"http://127.0.0.1:{port}", "token", timeout_s=0.5):
            pass
    assert time.monotonic() - began_s < 10


async def test_where_somebody_listens_and_says_nothing_it_says_so_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        began_s = time.monotonic()
        with pytest.raises(NotReachable, match=r"within 0\.2 s"):
            async with connect(f"http://127.0.0.1:{port}", "token", timeout_s=0.2):
                pass
        assert time.monotonic() - began_s < 5, "an attempt may take longer by itself"


async def test_what_is_no_connect_server_is_told_apart(up: Running) -> None:
    with pytest.raises(NotReachable, match="connect server"):
        await find_route(up.addresses.health["history"], up.token("alice"))


async def test_a_foreign_chat_and_a_foreign_state_are_refused(up: Running, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    async with device(up, "alice", state) as alice:
        with pytest.raises(SendRejected) as rejected:
            await alice.send("d:bob~carol", "hello")
        assert rejected.value.code == "forbidden"
        with pytest.raises(Refused) as refused:
            await alice.history("d:bob~carol")
        assert refused.value.code == "forbidden"
        with pytest.raises(StateInUse):
            async with device(up, "alice", state):
                pass
    with pytest.raises(StateUnusable, match="alice"):
        async with device(up, "bob", state):
            pass
