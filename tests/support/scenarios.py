"""What a cluster goes through, whatever runs its servers: Nomad, or the stack of one machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Any

from cecochat.ports.discovery import Instance
from tests.support.crowd import Crowd
from tests.support.eventually import eventually
from tests.support.evidence import absences, percentile
from tests.support.records import Refused
from tests.support.shared import leader, live, owners, settled, wanted
from tests.support.traffic import flowing, ring

LED_WITHIN_S = 60.0  # what fails a run; Consul ends the session of a dead one within 4 s
GROWING = {"scale.messaging.target": 8.0, "scale.messaging.cooldown_s": 1.0}
"""The configuration with which `grow_and_shrink` does so."""


async def lose_the_leader(
    where: Mapping[str, str], kill: Callable[[Instance], Awaitable[None]]
) -> float:
    """`kill` the control server that leads: how long until another one does, in s."""
    lost = await leader(where)
    assert lost, "no control server leads"
    began_s = time.monotonic()
    await kill(lost)

    async def led_by_another() -> bool:
        now = await leader(where)
        return now is not None and now.instance_id != lost.instance_id

    await eventually(led_by_another, LED_WITHIN_S, every_s=0.2)
    return round(time.monotonic() - began_s, 2)


async def lose_a_server(
    where: Mapping[str, str], crowd: Crowd, rng: Random, end: Callable[[Instance], Awaitable[None]]
) -> dict[str, Any]:
    """`end` a messaging server: what the devices felt until others owned all that it had, and
    everybody was back.
    """
    victim = rng.choice(await live(where, "messaging"))
    mark = len(crowd.record.entries)
    await end(victim)

    async def failed_over() -> bool:
        return victim.instance_id not in (await owners(where)).values()

    await eventually(failed_over, within_s=60, every_s=0.1)
    await eventually(lambda: settled(where, 2), within_s=60, every_s=0.2)
    return await felt(crowd, mark)


async def grow_and_shrink(where: Mapping[str, str], crowd: Crowd, rng: Random) -> list[int]:
    """30 devices, where a server should have 8, then 6 of them: how many servers were wanted, from
    2 on. What is `found` wrong fails here.
    """
    who, chats = ring(25, groups=False)  # a group would be of those who come and of those who go
    async with crowd.connected(who[:5], chats):
        async with crowd.connected(who[5:], chats):
            async with flowing(list(crowd.devices.values()), 50, rng):
                await eventually(lambda: settled(where, 4), within_s=120, every_s=0.5)
            await crowd.answered()  # whoever leaves has an answer to all that it sent
        few = [crowd.devices[each] for each in who[:5]]
        async with flowing(few, 10, rng):
            await eventually(lambda: settled(where, 2), within_s=180, every_s=0.5)
        assert await crowd.settle(within_s=60, absent=who[5:]) == []
    numbers = [2, *await wanted(where, "messaging")]
    top = numbers.index(4)
    assert numbers[: top + 1] == sorted(numbers[: top + 1])
    assert numbers[top:] == [4, 3, 2]
    return numbers


async def clean(crowd: Crowd) -> None:
    """Bring it to rest: nothing is lost, doubled or silently missing."""
    await asyncio.sleep(2)  # it flows on
    assert await crowd.settle(within_s=90) == []


async def felt(crowd: Crowd, mark: int) -> dict[str, Any]:
    """What the devices feel of it, in the record from `mark` on, once all are back. At least one
    must have been cut off, or nothing was tried.
    """

    def over() -> bool:
        back = all(crowd.devices[who].caught_up.is_set() for who in crowd.online)
        return back and bool(absences(crowd.record.entries[mark:]))

    await eventually(over, within_s=60, every_s=0.2)
    entries = crowd.record.entries[mark:]
    away = [each.lasted_s for each in absences(entries)]
    return {
        "absences": len(away),
        "away_p99_s": round(percentile(away, 0.99), 2),
        "away_max_s": round(max(away), 2),
        "refused": sum(isinstance(entry.what, Refused) for entry in entries),
    }
