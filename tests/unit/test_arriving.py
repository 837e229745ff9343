"""Requests that are on their way to a server."""

from __future__ import annotations

import asyncio

import pytest

from cecochat.domain.errors import Refusal
from cecochat.runtime import arriving
from cecochat.runtime.arriving import Arrivals
from cecochat.v1 import errors_pb2


async def arrives(arrivals: Arrivals, whole: asyncio.Event) -> None:
    async with arrivals.soon():
        await whole.wait()


async def test_of_too_many_the_one_that_has_taken_longest_is_given_up() -> None:
    arrivals, whole = Arrivals(at_once=2), asyncio.Event()
    those = []
    for _ in range(4):
        those.append(asyncio.create_task(arrives(arrivals, whole)))
        await asyncio.sleep(0)
    given_up = await asyncio.gather(*those[:2], return_exceptions=True)
    assert not those[2].done()
    assert not those[3].done()
    whole.set()
    await asyncio.gather(*those[2:])
    for each in given_up:
        assert isinstance(each, Refusal)
        assert each.error_code == errors_pb2.ERROR_CODE_RATE_LIMITED
        assert each.retry_after_ms == arriving.CROWDED_RETRY_MS


async def test_what_has_arrived_makes_room() -> None:
    arrivals, whole = Arrivals(at_once=1), asyncio.Event()
    whole.set()
    for _ in range(3):
        await arrives(arrivals, whole)


async def test_what_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arriving, "REQUEST_TIMEOUT_S", 0.01)
    with pytest.raises(Refusal) as refused:
        await arrives(Arrivals(), asyncio.Event())
    assert refused.value.error_code == errors_pb2.ERROR_CODE_TIMEOUT
