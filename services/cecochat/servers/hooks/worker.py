"""Tells every endpoint what happens in the partitions that the consumer group gives this server."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cecochat.domain.cluster.configuration import Config
from cecochat.domain.errors import Unavailable
from cecochat.domain.hooks.endpoints import Endpoint, Endpoints
from cecochat.domain.hooks.lane import Lane
from cecochat.domain.hooks.told import UNREAD
from cecochat.domain.log.place import Place
from cecochat.internal.v1.internal_pb2 import Load
from cecochat.ports.backplane import HOOKS_GROUP, MESSAGES, Log
from cecochat.ports.burying import Burial
from cecochat.ports.silences import Silences
from cecochat.runtime.clock import now_ms
from cecochat.servers.hooks.metrics import HookMetrics
from cecochat.servers.hooks.noticing import Noticing
from cecochat.servers.hooks.people import People
from cecochat.servers.hooks.posting import Poster
from cecochat.servers.hooks.sending import Means
from cecochat.servers.hooks.telling import Telling

log = logging.getLogger(__name__)

COMMIT_EVERY_S = 1.0
COMMIT_AGAIN_S = 3_600.0  # how often to commit again what has not moved, before the log forgets it
AT_ONCE = 32  # webhooks under way from this server to one endpoint


class Hooks:
    """Has a `Telling` for each endpoint and each partition of its own, and a `Noticing` for those
    that want it; `run` runs until it is cancelled. Each has progress of its own, so an endpoint
    that is away holds up no other.
    """

    def __init__(
        self,
        log_: Log,
        poster: Poster,
        burial: Burial,
        metrics: HookMetrics,
        people: People,
        silences: Silences,
    ) -> None:
        self._log = log_
        self._poster = poster
        self._burial = burial
        self._metrics = metrics
        self._people = people
        self._silences = silences
        self._config = Config()
        self._endpoints: Endpoints = {}
        self._gates: dict[str, asyncio.Semaphore] = {}  # by endpoint
        self._tellings: dict[tuple[str, int], Telling | Noticing] = {}  # by group and partition
        self._committed: dict[tuple[str, int], Place] = {}
        self._changed: dict[int, asyncio.Event] = {}  # by partition

    @property
    def load(self) -> Load:
        """What this server carries now."""
        return Load(hooks=self._metrics.load)

    @property
    def endpoints(self) -> Endpoints:
        """The endpoints that are followed."""
        return self._endpoints

    def apply(self, endpoints: Endpoints) -> None:
        """Follow these endpoints from now on."""
        self._endpoints = endpoints
        for changed in self._changed.values():
            changed.set()

    def configure(self, config: Config) -> None:
        """Follow a new configuration."""
        self._config = config

    async def run(self) -> None:
        """Tell until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_committing())
            group.create_task(self._log.backplane.share(MESSAGES, HOOKS_GROUP, self._work))

    def as_json(self) -> dict[str, Any]:
        """Return what waits, by endpoint, for people and programs."""
        waits, at_ms = self._waits(), now_ms()
        return {name: waits[name].as_json(at_ms) for name in sorted(waits)}

    # -- the partitions

    async def _work(self, partition: int) -> None:
        changed = self._changed[partition] = asyncio.Event()
        tasks: dict[Endpoint, asyncio.Task[None]] = {}
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    changed.clear()
                    wanted = {each for each in self._endpoints.values() if each.enabled}
                    await _ended(tasks.pop(each) for each in tasks.keys() - wanted)
                    for endpoint in wanted - tasks.keys():
                        task = self._tell(endpoint, partition)
                        tasks[endpoint] = group.create_task(task)
                    await changed.wait()
        finally:
            del self._changed[partition]

    async def _tell(self, endpoint: Endpoint, partition: int) -> None:
        gate = self._gates.setdefault(endpoint.name, asyncio.Semaphore(AT_ONCE))
        means = Means(self._poster, gate, self._burial, self._metrics.of(endpoint))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep(Telling(self._log, endpoint, partition, means)))
            if UNREAD in endpoint.kinds:
                noticing = Noticing(
                    *(self._log, endpoint, partition, means),
                    *(self._people, self._silences, self._delay_ms),
                )
                group.create_task(self._keep(noticing))

    def _delay_ms(self) -> int:
        return int(self._config.hooks_unread_delay_s * 1_000)

    async def _keep(self, telling: Telling | Noticing) -> None:
        """Run it, with its progress committed meanwhile and in the end."""
        key = telling.group, telling.partition
        self._tellings[key] = telling
        try:
            await telling.run()
        finally:
            await self._commit(key)
            del self._tellings[key]
            self._committed.pop(key, None)

    # -- progress

    async def _keep_committing(self) -> None:
        loop = asyncio.get_running_loop()
        all_s = loop.time()
        while True:
            await asyncio.sleep(COMMIT_EVERY_S)
            if loop.time() - all_s > COMMIT_AGAIN_S:
                self._committed.clear()
                all_s = loop.time()
            await self._commit(*self._tellings)
            self._measure()

    async def _commit(self, *keys: tuple[str, int]) -> None:
        """Commit up to where everything is done with. If this fails, the next commit makes up for
        it.
        """
        moved: dict[str, dict[int, Place]] = {}
        for group, partition in keys:
            place = self._tellings[group, partition].place
            if place and self._committed.get((group, partition)) != place:
                moved.setdefault(group, {})[partition] = place
        for group, places in moved.items():
            try:
                await self._log.backplane.commit(group, MESSAGES, places)
            except Unavailable as error:
                log.warning("the progress of hooks cannot be committed now: %s", error)
            else:
                self._committed |= {(group, p): place for p, place in places.items()}

    def _measure(self) -> None:
        waits, at_ms = self._waits(), now_ms()
        shown = {name: (each.count, each.oldest_s(at_ms)) for name, each in waits.items()}
        self._metrics.wait(shown)

    def _waits(self) -> dict[str, _Waits]:
        found = {each.name: _Waits() for each in self._endpoints.values() if each.enabled}
        for each in self._tellings.values():
            if lane := each.lane:
                found.setdefault(each.endpoint.name, _Waits()).add(lane)
        return found


@dataclass
class _Waits:
    """What waits to be delivered to an endpoint, over all partitions."""

    count: int = 0
    since_ms: int | None = None  # the oldest, ms since 1970; None: nothing waits

    def add(self, lane: Lane) -> None:
        self.count += lane.waiting
        if oldest_ms := lane.oldest_ms:
            self.since_ms = min(oldest_ms, self.since_ms or oldest_ms)

    def oldest_s(self, now_ms: int) -> float:
        return max(now_ms - self.since_ms, 0) / 1_000 if self.since_ms else 0.0

    def as_json(self, now_ms: int) -> dict[str, float]:
        return {"waiting": self.count, "oldest_s": self.oldest_s(now_ms)}


async def _ended(tasks: Iterable[asyncio.Task[None]]) -> None:
    """End tasks, each of which commits what it has done, before others go on from there."""
    ending = list(tasks)
    for task in ending:
        task.cancel()
    if ending:
        await asyncio.wait(ending)
