"""What ports/discovery.py promises, of every adapter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

import pytest

from cecochat.domain.errors import Unavailable
from cecochat.ports.discovery import Discovery, Instance
from tests.support.livez import alive

DEADLINE_S = 120


class Servers(NamedTuple):
    """Two of one service, and one of another with the same id."""

    a: Instance
    b: Instance
    h: Instance


@pytest.fixture
async def servers() -> AsyncGenerator[Servers]:
    """They answer their health checks, where an adapter makes them."""
    async with alive() as url:
        yield Servers(
            Instance("messaging", "a", "127.0.0.1:7001", url, "1.0"),
            Instance(
                "messaging",
                "b",
                "[::1]:7002",
                url,
                "1.0",
                "10.0.0.1:7005",
                "wss://[::1]:7002/v1/chat",
                "10.0.0.1:7006",
            ),
            Instance("history", "a", "chat.example:7003", url, "2.0", "10.0.0.1:7004"),
        )


async def sees(discovery: Discovery, *expected: Instance) -> None:
    """The set becomes the expected one."""
    service = expected[0].service if expected else "messaging"
    async with asyncio.timeout(DEADLINE_S), aclosing(discovery.watch(service)) as sets:
        async for instances in sets:
            if instances == expected:
                return


async def test_live_are_those_registered_by_instance_id(
    discovery: Discovery, servers: Servers
) -> None:
    a, b, h = servers
    await sees(discovery)
    await discovery.register(b)
    await discovery.register(a)
    await discovery.register(h)
    await sees(discovery, a, b)
    await sees(discovery, h)
    assert discovery.live("messaging") == (a, b)
    assert discovery.live("history") == (h,)
    assert discovery.live("connect") == ()


async def test_the_same_instance_again_replaces_it(discovery: Discovery, servers: Servers) -> None:
    a = servers.a
    await discovery.register(a)
    moved = a._replace(address="127.0.0.1:7009")
    await discovery.register(moved)
    await sees(discovery, moved)


async def test_deregistered_is_gone_and_unknown_is_fine(
    discovery: Discovery, servers: Servers
) -> None:
    a, b = servers.a, servers.b
    await discovery.register(a)
    await discovery.register(b)
    await discovery.deregister(a)
    await discovery.deregister(a)
    await sees(discovery, b)
    assert discovery.live("messaging") == (b,)


async def test_watch_shows_the_set_now_and_after_each_change(
    discovery: Discovery, servers: Servers
) -> None:
    a, b, h = servers
    await discovery.register(a)
    await sees(discovery, a)
    async with asyncio.timeout(DEADLINE_S), aclosing(discovery.watch("messaging")) as sets:
        assert await anext(sets) == (a,)
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(anext(sets))
            await asyncio.sleep(0)
            await discovery.register(h)
            await discovery.register(b)
            assert await waiting == (a, b)
        await discovery.deregister(a)
        await discovery.deregister(b)
        async for instances in sets:  # changes in a row may be joined
            if instances == ():
                break


async def test_close_is_idempotent(discovery: Discovery, servers: Servers) -> None:
    a = servers.a
    await discovery.register(a)
    await discovery.close()
    await discovery.close()
    assert discovery.live("messaging") == ()


async def test_close_ends_watches(discovery: Discovery, servers: Servers) -> None:
    async def ends(sets: AsyncGenerator[tuple[Instance, ...]]) -> None:
        with pytest.raises(Unavailable):
            async for _ in sets:
                pass

    await discovery.register(servers.a)
    async with asyncio.timeout(DEADLINE_S), aclosing(discovery.watch("messaging")) as sets:
        await anext(sets)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ends(sets))
            await asyncio.sleep(0)
            await discovery.close()


# -- leading


async def leads(candidate: AsyncGenerator[bool]) -> None:
    """Wait until it does."""
    async with asyncio.timeout(DEADLINE_S):
        async for now in candidate:
            if now:
                return


async def test_one_candidate_leads_and_the_next_when_it_gives_up(discovery: Discovery) -> None:
    async with aclosing(discovery.lead("role", "one")) as one:
        assert await anext(one) is True, "nobody else stands"
        async with aclosing(discovery.lead("role", "two")) as two:
            assert await anext(two) is False
            async with aclosing(discovery.lead("another role", "two")) as another:
                await leads(another)
            await one.aclose()
            await leads(two)
