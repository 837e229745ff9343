"""The network between the guests: cut, and slow."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.cluster.conftest import Talking, whole
from tests.cluster.guests import Guest
from tests.support.results import write

CUT_S = 30.0
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
        with lonely.cut_off():
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
