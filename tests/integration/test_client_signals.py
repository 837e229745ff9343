"""Typing and presence as a program with the Python client sees them."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest

from cecochat.client import (
    Client,
    InvalidArgument,
    Presence,
    Signal,
    SignalRefused,
    Typing,
    connect,
)
from cecochat.domain.device.signals import OVER_S
from tests.integration.clients import WITHIN_S, device, texts_of
from tests.integration.systems import Running
from tests.support.eventually import eventually
from tests.support.pipes import TransportName
from tests.support.rawclient import mint
from tests.support.server import Server

S = TypeVar("S", bound=Signal)


async def signal(client: Client, kind: type[S]) -> S:
    """The next signal of that kind; others are passed over."""
    async with asyncio.timeout(WITHIN_S):
        async for each in client.signals:
            if isinstance(each, kind):
                return each
    raise AssertionError("the signals ended")


async def test_a_dialog_shows_who_types_and_who_is_there(
    up: Running, transport: TransportName
) -> None:
    async with device(up, "alice", transport=transport) as alice:
        alice.signals.watch(["bob"])
        assert await signal(alice, Presence) == Presence("d:alice~bob", "bob", False, None)
        async with device(up, "bob", transport=transport) as bob:
            assert (await signal(alice, Presence)).online
            bob.signals.typing("alice")
            assert await signal(alice, Typing) == Typing("d:alice~bob", "bob", True)
            await bob.send("alice", "hello")
            assert await signal(alice, Typing) == Typing("d:alice~bob", "bob", False)
            assert await texts_of(alice, 1) == ["hello"]
        last_seen = (await signal(alice, Presence)).last_seen
        assert last_seen
        assert abs(datetime.now(UTC) - last_seen) < timedelta(seconds=60)


async def test_typing_that_nobody_ends_is_over_by_itself(up: Running) -> None:
    async with device(up, "alice") as alice, device(up, "bob") as bob:
        alice.signals.watch(["bob"])
        await signal(alice, Presence)
        begun_s = time.monotonic()
        bob.signals.typing("alice")
        assert (await signal(alice, Typing)).active
        assert not (await signal(alice, Typing)).active
        assert time.monotonic() - begun_s > OVER_S


async def test_whoever_is_invisible_is_not_seen(up: Running) -> None:
    async with device(up, "alice") as alice, device(up, "bob", invisible=True) as bob:
        alice.signals.watch(["bob"])
        assert await signal(alice, Presence) == Presence("d:alice~bob", "bob", False, None)
        bob.signals.hide(False)
        assert (await signal(alice, Presence)).online
        bob.signals.hide()
        assert await signal(alice, Presence) == Presence("d:alice~bob", "bob", False, None)


async def test_a_slow_program_is_told_how_things_are(up: Running) -> None:
    """While nobody reads its signals, Bob goes and comes back."""
    async with device(up, "alice") as alice:
        async with device(up, "bob"):
            alice.signals.watch(["bob"])
            while not (await signal(alice, Presence)).online:
                pass
        await eventually(lambda: untold(alice) == [False])
        async with device(up, "bob"):
            await eventually(lambda: untold(alice) == [True])
            assert (await signal(alice, Presence)).online


def untold(client: Client) -> list[bool]:
    """What waits for the program: whether who it watches is online. Reading `signals` would take
    it away.
    """
    waiting = client.signals._local._news.values()
    return [each.online for each in waiting if isinstance(each, Presence)]


async def test_a_watch_outlives_the_server(server: Server) -> None:
    url, secret = server.connect_url, server.secret_file
    async with connect(url, mint(secret, "alice")) as alice, connect(url, mint(secret, "bob")):
        alice.signals.watch(["bob"])
        while not (await signal(alice, Presence)).online:
            pass
        await server.kill()
        await server.start()
        while not (await signal(alice, Presence)).online:
            pass


async def test_what_cannot_be_watched_is_refused(up: Running) -> None:
    async with device(up, "alice") as alice:
        with pytest.raises(InvalidArgument):
            alice.signals.watch(f"user{n}" for n in range(65))
        with pytest.raises(InvalidArgument):
            alice.signals.watch(["alice"])
        with pytest.raises(InvalidArgument):
            alice.signals.typing("no user")
        alice.signals.watch(["g:team"])
        assert (await signal(alice, SignalRefused)).error.code == "not_found"


async def test_signals_end_with_their_client(up: Running) -> None:
    async with device(up, "alice") as alice:
        alice.signals.watch(["bob"])
        await signal(alice, Presence)
    assert [each async for each in alice.signals] == []
