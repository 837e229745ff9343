"""What ports/discovery.py promises, of every adapter."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from cecochat.ports.discovery import Discovery, Instance

DEADLINE_S = 30
A = Instance("messaging", "a", "127.0.0.1:7001", "http://127.0.0.1:7101", "1.0")
B = Instance("messaging", "b", "127.0.0.1:7002", "http://127.0.0.1:7102", "1.0")
H = Instance("history", "a", "127.0.0.1:7003", "http://127.0.0.1:7103", "1.0")


async def sees(discovery: Discovery, *expected: Instance) -> None:
    """The set becomes the expected one."""
    service = expected[0].service if expected else "messaging"
    async with asyncio.timeout(DEADLINE_S), aclosing(discovery.watch(service)) as sets:
        async for instances in sets:
            if instances == expected:
                return


async def test_live_are_those_registered_by_instance_id(discovery: Discovery) -> None:
    await sees(discovery)
    await discovery.register(B)
    await discovery.register(A)
    await discovery.register(H)
    await sees(discovery, A, B)
    await sees(discovery, H)
    assert discovery.live("messaging") == (A, B)
    assert discovery.live("history") == (H,)
    assert discovery.live("connect") == ()


async def test_the_same_instance_again_replaces_it(discovery: Discovery) -> None:
    await discovery.register(A)
    moved = A._replace(address="127.0.0.1:7009")
    await discovery.register(moved)
    await sees(discovery, moved)


async def test_deregistered_is_gone_and_unknown_is_fine(discovery: Discovery) -> None:
    await discovery.register(A)
    await discovery.register(B)
    await discovery.deregister(A)
    await discovery.deregister(A)
    await sees(discovery, B)
    assert discovery.live("messaging") == (B,)


async def test_watch_shows_the_set_now_and_after_each_change(discovery: Discovery) -> None:
    await discovery.register(A)
    await sees(discovery, A)
    async with asyncio.timeout(DEADLINE_S), aclosing(discovery.watch("messaging")) as sets:
        assert await anext(sets) == (A,)
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(anext(sets))
            await asyncio.sleep(0)
            await discovery.register(H)
            await discovery.register(B)
            assert await waiting == (A, B)
        await discovery.deregister(A)
        await discovery.deregister(B)
        async for instances in sets:  # changes in a row may be joined
            if instances == ():
                break


async def test_close_is_idempotent(discovery: Discovery) -> None:
    await discovery.register(A)
    await discovery.close()
    await discovery.close()
    assert discovery.live("messaging") == ()
