"""Guests that are lost and come back."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.cluster.conftest import Talking, whole
from tests.cluster.guests import Guest
from tests.support.results import write

pytestmark = pytest.mark.timeout(1_800)


async def test_a_guest_is_destroyed_and_made_again(
    guests: list[Guest], outside: str, talking: Talking, base_seed: int
) -> None:
    """With its disk, without a warning, while people talk."""
    async with talking(outside, guests) as people:
        await asyncio.sleep(5)
        figures: dict[str, Any] = {"seed": base_seed, "before": await people.felt()}
        began = time.monotonic()
        await asyncio.to_thread(guests[2].destroy)
        await people.until_answered(200)
        figures["answered_again_s"] = round(time.monotonic() - began, 1)
        await asyncio.sleep(30)
        figures["two_guests"] = await people.felt()
        began = time.monotonic()
        await asyncio.to_thread(guests[2].up)
        figures["made_again_s"] = round(time.monotonic() - began, 1)
        await whole(guests)
        figures["whole_s"] = round(time.monotonic() - began, 1)
        figures["made"] = await people.felt()
        figures["judged"] = await people.judged()
    print(write("cluster-guest-lost", figures))
    assert figures["two_guests"]["acked"] > 0
    assert figures["made"]["acked"] > 0


async def test_the_whole_cluster_stops_and_starts(
    guests: list[Guest], outside: str, talking: Talking, base_seed: int
) -> None:
    """As an operator does it in the evening, one guest after the other; people wait for it."""
    async with talking(outside, guests) as people:
        await asyncio.sleep(5)
        figures: dict[str, Any] = {"seed": base_seed, "before": await people.felt()}
        for guest in reversed(guests):
            await asyncio.to_thread(guest.halt)
        began = time.monotonic()
        for guest in guests:
            await asyncio.to_thread(guest.up)
        figures["started_s"] = round(time.monotonic() - began, 1)
        await people.until_answered(200)
        figures["answered_again_s"] = round(time.monotonic() - began, 1)
        await whole(guests)
        figures["whole_s"] = round(time.monotonic() - began, 1)
        figures["judged"] = await people.judged()
    print(write("cluster-stop-and-start", figures))
