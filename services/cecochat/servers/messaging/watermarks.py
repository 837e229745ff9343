"""Stores how far the partitions of a server are forwarded, for all of them together, and releases
what they no longer need of the log.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping

from cecochat.domain.errors import Unavailable
from cecochat.domain.log.place import Place
from cecochat.domain.ownership.owner import Owner
from cecochat.ports.backplane import FORWARD_GROUP, MESSAGES, Backplane
from cecochat.ports.reading import Standing
from cecochat.servers.messaging.metrics import MessagingMetrics

log = logging.getLogger(__name__)

STORE_EVERY_S = 1.0
RELEASE_EVERY = 5  # stores
RELEASE_AT_ONCE = 8  # partitions in turn, since each costs a read, and nothing of it is urgent
AGAIN_S = 3_600.0  # how often to store again what has not moved, before the log forgets it


class Watermarks:
    """Stores and releases on a best-effort basis: a stale watermark costs only repeated copies and
    a longer log.
    """

    def __init__(self, backplane: Backplane, metrics: MessagingMetrics) -> None:
        self._backplane = backplane
        self._metrics = metrics
        self._stored: dict[int, int] = {}  # partition -> the offset to continue from
        self._released: dict[int, int] = {}  # partition -> the offset below which it was released
        self._all_released: dict[int, int] = {}  # partition -> `done` when nothing was left to do
        self._looked_s: dict[int, float] = {}  # partition -> when that was looked at
        self._begins: dict[
            int, int
        ] = {}  # partition -> the start that a state record was asked for
        self._all_stored_s = time.monotonic()

    async def keep(self, owners: Callable[[], Mapping[int, Owner]]) -> None:
        """Store and release from time to time, until cancelled. `owners` returns the owners that
        are ready.
        """
        times = 0
        while True:
            await asyncio.sleep(STORE_EVERY_S)
            await self.store(owners())
            times += 1
            if times % RELEASE_EVERY == 0:
                await self._release(owners())

    async def store(self, owners: Mapping[int, Owner]) -> None:
        """Commit all watermarks that have moved, with one call."""
        if time.monotonic() - self._all_stored_s > AGAIN_S:
            self._stored.clear()
            self._all_stored_s = time.monotonic()
        reached = {partition: owner.forwarder.done + 1 for partition, owner in owners.items()}
        self._metrics.forward_lag.set({p: o.cursor - reached[p] for p, o in owners.items()})
        broken = sum(len(owner.incoming.broken) for owner in owners.values())
        self._metrics.chains_broken.set(broken)
        ahead_ms = max((owner.clock.ahead_ms for owner in owners.values()), default=0)
        self._metrics.clock_ahead.set(max(0, ahead_ms) / 1_000)
        moved = {p: offset for p, offset in reached.items() if self._stored.get(p) != offset}
        places = {p: Place(owners[p].fold.clock_ms, offset) for p, offset in moved.items()}
        try:
            if moved:
                await self._backplane.commit(FORWARD_GROUP, MESSAGES, places)
                self._stored |= moved
        except Unavailable as error:
            log.warning("the watermarks cannot be stored now: %s", error)

    async def _release(self, owners: Mapping[int, Owner]) -> None:
        unfinished = [
            partition
            for partition, owner in owners.items()
            if self._all_released.get(partition) != owner.forwarder.done
        ]
        due = sorted(unfinished, key=lambda each: self._looked_s.get(each, 0.0))[:RELEASE_AT_ONCE]
        try:
            for standing in await asyncio.gather(
                *(Standing.of(self._backplane, partition) for partition in due)
            ):
                await self._release_of(standing, owners[standing.partition])
        except Unavailable as error:
            log.warning("what is no longer needed cannot be released now: %s", error)

    async def _release_of(self, standing: Standing, owner: Owner) -> None:
        partition, done = standing.partition, owner.forwarder.done
        self._looked_s[partition] = time.monotonic()
        materialized = await standing.materialized(self._backplane) + 1
        if before := owner.released(materialized):
            await self._backplane.release(MESSAGES, partition, before)
            self._released[partition] = before
        self._look_at_beginning(standing, owner)
        if materialized > done:
            self._all_released[partition] = done

    def _look_at_beginning(self, standing: Standing, owner: Owner) -> None:
        """Ask for a state record if the log begins above what this owner has released: it may have
        been cut, and then readers wait for a state record that says what counts.
        """
        partition, (start, _) = standing.partition, standing.bounds
        if start > self._released.get(partition, 0) and start != self._begins.get(partition):
            owner.state_soon()
            self._begins[partition] = start
