"""The asyncio shell of `Incoming`: compares chains of copies after a record that could not be read,
and asks other partitions for missing copies.
"""

from __future__ import annotations

import asyncio
import logging
import time
from itertools import compress

from cecochat.domain.errors import Trimmed, Unavailable
from cecochat.domain.log.records import NOTHING, Copied, Missing, encode
from cecochat.domain.ownership.owner import Owner
from cecochat.ports.backplane import NewRecord, Producer
from cecochat.ports.reading import last_for, still_holds
from cecochat.servers.messaging.host import Host

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
COMPARE_EVERY_S = 10.0  # comparing reads some records of every partition


class MissingCopies:
    """Looks after the missing copies of one owner; `run` runs until it is cancelled. If something
    cannot be read or asked at the moment, it tries again later.
    """

    def __init__(
        self, host: Host, owner: Owner, producer: Producer, group: asyncio.TaskGroup
    ) -> None:
        self._log = host.log
        self._metrics = host.metrics
        self._owner = owner
        self._incoming = owner.incoming
        self._producer = producer
        self._group = group
        self._compared_s = -COMPARE_EVERY_S
        self._asking: dict[int, asyncio.Task[None]] = {}  # requests under way, by origin

    async def run(self) -> None:
        """Look once a second, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self._owner.ready:
                await self._compare_all()
                await self._ask()

    async def _compare_all(self) -> None:
        """Compare the chains of all partitions after a record that could not be read: it may have
        been a copy from any of them.
        """
        unread = self._incoming.unread
        if unread < 0 or time.monotonic() < self._compared_s + COMPARE_EVERY_S:
            return
        self._compared_s = time.monotonic()
        compared = [await self._compare(origin) for origin in range(self._log.partitions)]
        if all(compared):
            self._incoming.compared(unread)

    async def _compare(self, origin: int) -> bool:
        """Compare one chain, and return whether that was possible. A partition that has no leader
        at the moment does not stop the others.
        """
        try:
            last = await self._last_from(origin)
        except (Unavailable, Trimmed) as error:
            log.warning("what partition %s has copied cannot be read now: %s", origin, error)
            return False
        if last is not None:
            self._incoming.compare(origin, last)
        return last is not None

    async def _last_from(self, origin: int) -> Copied | None:
        """Return the last origin there that concerns our partition. None if it is not known,
        because that partition of the log was cut and its owner has not written a state record yet.
        """
        log_ = self._log
        if origin >= log_.partitions:  # the record of a stranger may name one that does not exist
            return NOTHING
        return await last_for(log_.backplane, origin, self._owner.partition, log_.partition_of)

    async def _ask(self) -> None:
        now_ms = time.monotonic_ns() // 1_000_000
        due = [origin for origin in self._incoming.due(now_ms) if origin not in self._asking]
        compared = list(compress(due, await asyncio.gather(*map(self._compare, due))))
        held_by = await asyncio.gather(*map(self._holds_ours, compared))
        for origin, held in zip(compared, held_by, strict=True):
            if missing := self._incoming.ask(origin, now_ms, held=held):
                self._asking[origin] = self._group.create_task(self._append(origin, missing))

    async def _holds_ours(self, origin: int) -> bool:
        """Return whether that partition still has the origin that counted last here. This is
        assumed if it cannot be read at the moment, or if there is no such partition.
        """
        if origin >= self._log.partitions:
            return True
        try:
            high = self._owner.fold.high_of(origin)
            return await still_holds(self._log.backplane, origin, high)
        except (Unavailable, Trimmed):
            return True

    async def _append(self, origin: int, missing: Missing) -> None:
        """Append a request. Nothing else waits for it, since that partition may have no leader."""
        log.error(
            "partition %s lacks messages that partition %s has above offset %s, and asks for them",
            *(missing.target, origin, missing.high.offset),
            extra={"partition": missing.target},
        )
        await self._producer.append([NewRecord(origin, *encode(missing))])
        self._metrics.asked.inc()
        del self._asking[origin]

    def stop(self) -> None:
        """Stop waiting for requests that are under way."""
        for asking in self._asking.values():
            asking.cancel()
