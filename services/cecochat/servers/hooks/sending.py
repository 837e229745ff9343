"""Sends what is in a lane, until its endpoint has it or never takes it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from cecochat.domain.hooks.endpoints import Endpoint
from cecochat.domain.hooks.lane import Item, Lane
from cecochat.domain.hooks.told import Told
from cecochat.ports.burying import Burial
from cecochat.servers.hooks.metrics import OfEndpoint
from cecochat.servers.hooks.parked import letter_of
from cecochat.servers.hooks.posting import Answer, Poster, spread

log = logging.getLogger(__name__)


class Means(NamedTuple):
    """With what webhooks are sent to an endpoint, shared by all partitions of a server."""

    poster: Poster
    gate: asyncio.Semaphore  # bounds what is under way
    burial: Burial
    metrics: OfEndpoint


class Sending:
    """Sends for one endpoint what one partition has to tell; `run` runs until it is cancelled.

    `is_due` says whether something still has to be sent, and `done` is told what was dealt with.
    """

    def __init__(
        self,
        lane: Lane,
        endpoint: Endpoint,
        partition: int,
        means: Means,
        is_due: Callable[[Told], bool] = lambda _: True,
        done: Callable[[Told], None] = lambda _: None,
    ) -> None:
        self.lane = lane
        self._endpoint = endpoint
        self._partition = partition
        self._means = means
        self._is_due = is_due
        self._done = done
        self._woken = asyncio.Event()  # there may be something to send
        self._freed = asyncio.Event()  # there may be room

    def wake(self) -> None:
        """Note that something was added to the lane."""
        self._woken.set()

    async def room(self) -> None:
        """Wait until the lane takes more."""
        while not self.lane.has_room:
            self._woken.set()
            self._freed.clear()
            await self._freed.wait()

    async def run(self) -> None:
        """Send until cancelled. Raises `Unavailable` or `ProducerEnded` if what is not taken cannot
        be parked.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as under_way:
            while True:
                self._woken.clear()
                for item in self.lane.due(loop.time()):
                    under_way.create_task(self._deliver(item))
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(self.lane.next_s):
                        await self._woken.wait()

    async def _deliver(self, item: Item) -> None:
        async with self._means.gate:
            if self._is_due(item.told):
                answer = await self._means.poster.post(self._endpoint, item.told)
                self._means.metrics.answered(answer)
                await self._settle(item, answer)
            else:
                self.lane.parked(item)
        self._woken.set()
        self._freed.set()

    async def _settle(self, item: Item, answer: Answer) -> None:
        now_s = asyncio.get_running_loop().time()
        if answer.verdict == "taken":
            self.lane.taken(item)
            self._done(item.told)
        elif answer.verdict == "refused" or self.lane.failed(item, now_s, spread(), answer.pause_s):
            await self._park(item, answer.why)
            self._done(item.told)

    async def _park(self, item: Item, why: str) -> None:
        await self._means.burial.bury([letter_of(self._endpoint, self._partition, item, why)])
        self.lane.parked(item)
        self._means.metrics.parked()
        log.error(
            "endpoint %s does not take the webhook %s, which is parked: %s",
            *(self._endpoint.name, item.told.id, why),
            extra={"partition": self._partition, "endpoint": self._endpoint.name},
        )
