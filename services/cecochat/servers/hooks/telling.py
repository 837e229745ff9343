"""Tells one endpoint what happens in one partition of the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing

from cecochat.domain.errors import ProducerEnded, Trimmed, Unavailable
from cecochat.domain.hooks.endpoints import Endpoint
from cecochat.domain.hooks.lane import Lane
from cecochat.domain.hooks.told import of_dropped, told_of
from cecochat.domain.log.chain import Here
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.place import Place
from cecochat.ports.backplane import Log, Record
from cecochat.ports.reading import decode_once, records_after
from cecochat.runtime.clock import now_ms
from cecochat.runtime.lifetime import check_cancelled
from cecochat.servers.hooks.beginning import beginning, fold_below
from cecochat.servers.hooks.sending import Means, Sending

log = logging.getLogger(__name__)

RETRY_S = 2.0


class Telling:
    """Reads, sends and remembers how far it is; `run` runs until it is cancelled."""

    def __init__(self, log_: Log, endpoint: Endpoint, partition: int, means: Means) -> None:
        self.endpoint = endpoint
        self.partition = partition
        self.group = endpoint.group
        self.lane: Lane | None = None  # None until it is known from where to go on
        self._backplane = log_.backplane
        self._here = Here(partition, log_.partition_of)
        self._means = means
        self._fields = {"partition": partition, "endpoint": endpoint.name}

    async def run(self) -> None:
        """Tell until cancelled. If the log does not answer, try again."""
        while True:
            try:
                await self._follow()
            except* (Unavailable, ProducerEnded, Trimmed) as errors:
                check_cancelled()
                self._means.burial.forget()
                log.warning(
                    "endpoint %s is not told of partition %s now: %s",
                    *(self.endpoint.name, self.partition, first_error(errors)),
                    extra=self._fields,
                )
            await asyncio.sleep(RETRY_S)

    @property
    def place(self) -> Place | None:
        """Up to below where everything is done with; None: not known yet."""
        return self.lane.place if self.lane else None

    async def _follow(self) -> None:
        async with asyncio.TaskGroup() as group:
            start = await beginning(
                *(self._backplane, self.group, self._here),
                *(self.endpoint.created_ms, self._means.metrics),
            )
            lane = self.lane = Lane(start.place)
            for told in start.dropped:
                lane.add(told, start.place, now_ms())
            position, fold = await fold_below(self._backplane, self._here, start.place.offset)
            sending = Sending(lane, self.endpoint, self.partition, self._means)
            group.create_task(sending.run())
            group.create_task(self._read(sending, position, fold, start.place.offset))

    async def _read(self, sending: Sending, position: int, fold: Fold, first: int) -> None:
        batches = records_after(self._backplane, self.partition, Place(fold.clock_ms, position))
        async with aclosing(batches):
            async for batch in batches:
                await self._take(sending, fold, batch, first)
                sending.wake()

    async def _take(
        self, sending: Sending, fold: Fold, batch: Sequence[Record], first: int
    ) -> None:
        lane = sending.lane
        for record in batch:
            place = Place(fold.clock_ms, record.offset)
            decoded = decode_once(record)
            counts = fold.step(record.offset, decoded, record.appended_at_ms)
            if record.offset < first:
                continue
            for gap in fold.gaps.found:
                lost = of_dropped(self.partition, gap.first, gap.last + 1, record.appended_at_ms)
                lane.add(lost, place, record.appended_at_ms)
                self._means.metrics.dropped(gap.last + 1 - gap.first)
            told = told_of(decoded, self._here) if counts else None
            if told and self.endpoint.wants(told):
                await sending.room()
                lane.add(told, place, record.appended_at_ms)
            lane.read_to(Place(fold.clock_ms, record.offset + 1))


def first_error(error: BaseException) -> BaseException:
    """Return the first error in nested groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
