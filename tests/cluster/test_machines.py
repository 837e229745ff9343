"""Guests that are lost and come back."""

from __future__ import annotations

import asyncio
import time

import pytest

from scripts.cluster import plan
from tests.cluster.conftest import Talking, owning, whole
from tests.cluster.faults import full_disk, room_kb, small_disk, with_wrong_clock, wrong_clock
from tests.cluster.guests import Guest
from tests.cluster.people import before
from tests.support.prometheus import Prometheus
from tests.support.results import write

FULL_S, A_MINUTE_S, AN_MB_KB = 60.0, 60, 1_024
ANNOUNCED = ("TargetDown", "AppendsWait")
pytestmark = pytest.mark.timeout(1_800)


async def test_a_guest_is_destroyed_and_made_again(
    guests: list[Guest], outside: str, talking: Talking, base_seed: int
) -> None:
    """With its disk, without a warning, while people talk."""
    async with talking(outside, guests) as people:
        figures = await before(people, base_seed)
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
        figures = await before(people, base_seed)
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


async def test_two_guests_of_three_are_destroyed_and_made_again(
    guests: list[Guest], outside: str, talking: Talking, base_seed: int
) -> None:
    """At once, with their disks. Nobody can send, alerts say so, nothing acknowledged is lost."""
    prometheus = Prometheus(f"http://{guests[0].address}:{plan.PROMETHEUS}")
    async with talking(outside, guests) as people:
        figures = await before(people, base_seed)
        await asyncio.gather(*(asyncio.to_thread(guest.kill) for guest in guests[1:]))
        for guest in guests[1:]:
            await asyncio.to_thread(guest.destroy)
        await people.felt()  # what was under way
        await prometheus.until_firing(*ANNOUNCED, within_s=300)
        figures["alerts"] = sorted(await prometheus.firing())
        figures["one_guest"] = await people.felt()
        for guest in guests[1:]:  # one after the other: docs/adr/0060 says why
            await asyncio.to_thread(guest.up)
        await people.until_answered(200)
        await whole(guests)
        figures["judged"] = await people.judged()
    print(write("cluster-two-guests-lost", figures))
    assert figures["one_guest"]["acked"] == 0, "one of three has accepted messages"


async def test_the_disk_of_a_guest_is_full_and_has_room_again(
    guests: list[Guest], outside: str, talking: Talking, base_seed: int
) -> None:
    """Its backends end rather than go on with half of what they wrote."""
    with small_disk(guests[2]):
        await whole(guests)
        async with talking(outside, guests) as people:
            figures = await before(people, base_seed)
            with full_disk(guests[2]):
                figures["room_kb"] = await asyncio.to_thread(room_kb, guests[2])
                await asyncio.sleep(FULL_S)
                figures["full"] = await people.felt()
            await people.until_answered(200)
            await whole(guests)
            figures["judged"] = await people.judged()
    print(write("cluster-full-disk", figures))
    assert figures["room_kb"] < AN_MB_KB
    assert figures["full"]["acked"] > 0


@pytest.mark.parametrize("offset", ["-1h", "+1h"])
async def test_the_servers_of_a_guest_have_a_wrong_clock(
    guests: list[Guest], outside: str, talking: Talking, base_seed: int, offset: str
) -> None:
    """Ids go on above what they have seen, whatever the clock says (docs/adr/0003)."""
    async with talking(outside, guests) as people:
        figures = await before(people, base_seed)
        ended = await asyncio.to_thread(guests[2].messaging_servers)
        with wrong_clock(guests[2], offset):
            await whole(guests)
            await owning(guests[2], ended)
            figures["servers"] = sorted(with_wrong_clock(guests[2]))
            await asyncio.sleep(20)
            figures["wrong"] = await people.felt()
        await whole(guests)
        figures["right"] = await people.felt()
        figures["judged"] = await people.judged()
    print(write(f"cluster-clock{offset}", figures))
    assert "messaging" in figures["servers"]
    assert figures["wrong"]["clocks_s"][1] < A_MINUTE_S, "one that is ahead accepts nothing"
    assert figures["wrong"]["acked"] > 0
