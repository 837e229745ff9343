"""The asyncio shell round what an owner knows to be missing: compares chains of copies after an
unreadable record, and asks other partitions for copies.
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
COMPARE_EVERY_S = 10.0  # it reads some records of every partition


class MissingCopies:
    """Of one owner; `run` until cancelled. Not being able to read or ask just now is no failure: it
    is tried again.
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
        self._asking: dict[int, asyncio.Task[None]] = {}  # questions under way, by origin

    async def run(self) -> None:
        """Look once a second."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self._owner.ready:
                await self._compare_all()
                await self._ask()

    async def _compare_all(self) -> None:
        """What cannot be read may have been a copy from anywhere."""
        unread = self._incoming.unread
        if unread < 0 or time.monotonic() < self._compared_s + COMPARE_EVERY_S:
            return
        self._compared_s = time.monotonic()
        looked = [await self._compare(origin) for origin in range(self._log.partitions)]
        if all(looked):
            self._incoming.compared(unread)

    async def _compare(self, origin: int) -> bool:
        """Whether that could be looked up just now; one partition without a leader stops no
        other.
        """
        try:
            last = await self._last_from(origin)
        except (Unavailable, Trimmed) as error:
            log.warning("what partition %s has copied cannot be looked up: %s", origin, error)
            return False
        if last is not None:
            self._incoming.compare(origin, last)
        return last is not None

    async def _last_from(self, origin: int) -> Copied | None:
        """A partition that the log does not have, as a record of a stranger may name one, has
        nothing for us. None: of a log that was cut it is not known, until its owner says so.
        """
        if origin >= self._log.partitions:
            return NOTHING
        log_, partition = self._log, self._owner.partition
        return await last_for(log_.backplane, origin, partition, log_.place)

    async def _ask(self) -> None:
        now_ms = time.monotonic_ns() // 1_000_000
        due = [origin for origin in self._incoming.due(now_ms) if origin not in self._asking]
        asked = list(compress(due, await asyncio.gather(*map(self._compare, due))))
        holds = await asyncio.gather(*map(self._holds_ours, asked))
        for origin, held in zip(asked, holds, strict=True):
            if missing := self._incoming.ask(origin, now_ms, held=held):
                self._asking[origin] = self._group.create_task(self._append(origin, missing))

    async def _holds_ours(self, origin: int) -> bool:
        """Whether that partition has what counted last here; where that cannot be read just now, or
        there is no such partition, it is asked for what comes behind.
        """
        if origin >= self._log.partitions:
            return True
        try:
            high = self._owner.fold.high_of(origin)
            return await still_holds(self._log.backplane, origin, high)
        except (Unavailable, Trimmed):
            return True

    async def _append(self, origin: int, missing: Missing) -> None:
        """Nothing else waits for it: that partition may be without a leader."""
        log.error(
            "partition %s lacks messages that partition %s has above offset %s: asking for them",
            *(missing.target, origin, missing.high.offset),
            extra={"partition": missing.target},
        )
        await self._producer.append([NewRecord(origin, *encode(missing))])
        self._metrics.asked.inc()
        del self._asking[origin]

    def stop(self) -> None:
        """Wait for nothing any more."""
        for asking in self._asking.values():
            asking.cancel()
