"""Refusals of a flood are told late; those of people are not."""

from __future__ import annotations

import asyncio
import time

import pytest

from cecochat.domain.errors import Refusal
from cecochat.runtime import tarpit
from cecochat.runtime.tarpit import BURST, WAITING_MAX, Tarpit
from cecochat.v1 import errors_pb2

TOO_OFTEN = Refusal(errors_pb2.ERROR_CODE_RATE_LIMITED, "too often")
MOVED = Refusal(errors_pb2.ERROR_CODE_MOVED, "elsewhere")


async def held_s(of: Tarpit, refusal: Refusal) -> float:
    begun_s = time.monotonic()
    await of.hold(refusal)
    return time.monotonic() - begun_s


async def test_the_first_refusals_are_told_at_once_and_the_others_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tarpit, "LATE_S", 5.0)
    monkeypatch.setattr(tarpit, "RATE_PER_S", 0.001)
    pit = Tarpit()
    for _ in range(BURST):
        assert await held_s(pit, TOO_OFTEN) < 1
    waiting = [asyncio.create_task(pit.hold(TOO_OFTEN)) for _ in range(WAITING_MAX)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    assert await held_s(pit, TOO_OFTEN) < 1, "so many wait that one more is told at once"
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pit.hold(TOO_OFTEN), 0.01)
    assert await held_s(pit, MOVED) < 1, "what sends thousands elsewhere is no flood"
