"""The network between the guests: cut, and slow."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.cluster.conftest import Talking, whole
from tests.cluster.guests import Guest
from tests.cluster.network import cut_off, slowed
from tests.cluster.people import before
from tests.support.results import write

CUT_S = 30.0
DELAY_MS, DELAYED_S = 100, 40.0
pytestmark = pytest.mark.timeout(1_200)


async def test_a_guest_is_cut_off_for_thirty_seconds(
    guests: list[Guest], outside: str, talking: Talking, base_seed: int
) -> None:
    """On both sides people talk. The side of one guest is a minority: nothing is accepted there
    while it lasts, and nothing that was accepted before is lost.
    """
    *others, lonely = guests
    async with (
        talking(outside, others) as most,
        talking(lonely.namespace, [lonely]) as few,
    ):
        await asyncio.sleep(5)
        figures: dict[str, Any] = {
            "seed": base_seed,
            "before": {"most": await most.felt(), "few": await few.felt()},
        }
        with cut_off(lonely):
            await asyncio.sleep(2)  # what was under way
            under_way = await few.felt()
            await asyncio.sleep(CUT_S - 2)
            figures["cut"] = {"most": await most.felt(), "few": await few.felt()}
        healed = time.monotonic()
        await asyncio.gather(most.until_answered(100), few.until_answered(100))
        figures["few_under_way"], figures["back_s"] = under_way, round(time.monotonic() - healed, 1)
        await whole(guests)
        figures["whole_s"] = round(time.monotonic() - healed, 1)
        figures["judged"] = {"most": await most.judged(), "few": await few.judged()}
    print(write("cluster-network-cut", figures))
    assert figures["cut"]["few"]["acked"] == 0, "a minority has accepted messages"
    assert figures["cut"]["most"]["acked"] > 0, "the majority stood still"


async def test_the_cable_of_a_guest_has_a_delay_of_a_hundred_milliseconds(
    guests: list[Guest], outside: str, talking: Talking, base_seed: int
) -> None:
    """Each way, so that all that it does with the others takes 200 ms more."""
    async with talking(outside, guests) as people:
        figures = await before(people, base_seed)
        with slowed(guests[2], DELAY_MS):
            figures["round_trip_ms"] = await asyncio.to_thread(_round_trip_ms, guests[2], guests[0])
            await asyncio.sleep(DELAYED_S)
            figures["slow"] = await people.felt()
        await people.until_answered(100)
        await whole(guests)
        figures["judged"] = await people.judged()
    print(write("cluster-slow-cable", figures))
    assert figures["round_trip_ms"] >= 2 * DELAY_MS
    assert figures["slow"]["acked"] > 0


def _round_trip_ms(guest: Guest, other: Guest) -> float:
    said = guest.run("ping", "-c", "3", "-q", other.address)
    return float(said.rpartition(" = ")[2].split("/")[0])  # the least of them
