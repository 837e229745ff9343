"""A flag is an event for one task."""

from __future__ import annotations

import asyncio

import pytest

from cecochat.runtime.flag import Flag


async def test_who_waits_is_woken_even_if_it_is_cleared_at_once() -> None:
    flag = Flag()
    waiting = asyncio.create_task(flag.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    flag.set()
    flag.set()
    flag.clear()
    await waiting
    assert not flag.is_set()


async def test_nobody_waits_for_what_is_set() -> None:
    flag = Flag(is_set=True)
    assert flag.is_set()
    async with asyncio.timeout(60):
        await flag.wait()


async def test_another_may_wait_after_one_was_cancelled() -> None:
    flag = Flag()
    first = asyncio.create_task(flag.wait())
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(flag.wait())
    await asyncio.sleep(0)
    flag.set()
    await second


async def test_two_at_once_are_a_mistake() -> None:
    flag = Flag()
    first = asyncio.create_task(flag.wait())
    await asyncio.sleep(0)
    with pytest.raises(AssertionError, match="one task"):
        await flag.wait()
    flag.set()
    await first
