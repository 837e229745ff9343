"""What a set of servers looks like from outside while its servers stop and start."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from cecochat.internal.client import InternalClient
from cecochat.ports.discovery import SERVICES, Discovery, Instance, Service
from cecochat.run.turn import WAIT_S
from tests.support import operators

EVERY_S = 0.1
SECOND_S = 1.0


@dataclass
class Seen:
    """What a set looked like all the while. `serving`: how many did at each look, which are those
    that are listed and ready, and messaging servers that own something. `left_s`: when each was
    listed last.
    """

    serving: list[int] = field(default_factory=list)
    left_s: dict[str, float] = field(default_factory=dict)

    def figures(self, ids: Iterable[str]) -> dict[str, Any]:
        """Of the two servers that have left."""
        first_s, second_s = sorted(self.left_s[each] for each in ids)
        return {
            "looks": len(self.serving),
            "fewest_serving": min(self.serving),
            "second_left_after_s": round(second_s - first_s, 2),
        }


def judged(found: dict[str, Any], least_s: float = SECOND_S) -> None:
    """One of the set serves at every look, unless a new one takes longer to start than the turn is
    waited for: then that long. `least_s`: how long a server of it takes to stop, at least.
    """
    apart_s = found["second_left_after_s"]
    assert apart_s >= least_s, f"both stopped within {least_s} s"
    assert found["fewest_serving"] >= 1 or apart_s > WAIT_S - SECOND_S, "nobody served"


@asynccontextmanager
async def watching_all(discovery: Discovery) -> AsyncIterator[dict[Service, Seen]]:
    """Every set, while inside."""
    async with AsyncExitStack() as stack:
        yield {
            each: await stack.enter_async_context(watching(discovery, each)) for each in SERVICES
        }


@asynccontextmanager
async def watching(discovery: Discovery, service: Service) -> AsyncIterator[Seen]:
    """While inside."""
    seen = Seen()
    async with (
        operators.client(timeout=5) as client,
        asyncio.TaskGroup() as tasks,
    ):
        task = tasks.create_task(_watch(seen, client, discovery, service))
        yield seen
        task.cancel()


async def _watch(
    seen: Seen, client: httpx.AsyncClient, discovery: Discovery, service: Service
) -> None:
    known: set[Instance] = set()
    while True:
        listed = discovery.live(service)
        known |= set(listed)
        seen.left_s |= {each.instance_id: time.monotonic() for each in listed}
        if service == "messaging":  # it serves on when it has left, until others have taken over
            serve = [bool(await InternalClient(client).owned_by(each)) for each in known]
        else:
            serve = [await _ready(client, each) for each in listed]
        seen.serving.append(sum(serve))
        await asyncio.sleep(EVERY_S)


async def _ready(client: httpx.AsyncClient, server: Instance) -> bool:
    try:
        return (await client.get(f"{server.health_url}/readyz")).is_success
    except httpx.HTTPError:
        return False
