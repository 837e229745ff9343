"""Tells one endpoint what happens in one partition of the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing, suppress
from typing import NamedTuple

from cecochat.domain.errors import ProducerEnded, Trimmed, Unavailable
from cecochat.domain.hooks.endpoints import Endpoint
from cecochat.domain.hooks.lane import Item, Lane
from cecochat.domain.hooks.told import Told, of_dropped, told_of
from cecochat.domain.log.chain import Here
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.place import Place
from cecochat.ports.backplane import MESSAGES, Log, Record
from cecochat.ports.burying import Burial
from cecochat.ports.reading import (
    decode_once,
    goes_on_at,
    known_fold_at,
    read_cut_log,
    records_after,
    still_holds,
)
from cecochat.runtime.clock import now_ms
from cecochat.servers.hooks.metrics import OfEndpoint
from cecochat.servers.hooks.parked import letter_of
from cecochat.servers.hooks.posting import Answer, Poster, spread

log = logging.getLogger(__name__)

RETRY_S = 2.0


class _Start(NamedTuple):
    """From where to go on, and what to say of what is missing before."""

    place: Place
    dropped: tuple[Told, ...] = ()


class Telling:
    """Reads, sends and remembers how far it is; `run` runs until it is cancelled."""

    def __init__(
        self,
        log_: Log,
        endpoint: Endpoint,
        partition: int,
        poster: Poster,
        gate: asyncio.Semaphore,
        burial: Burial,
        metrics: OfEndpoint,
    ) -> None:
        self.endpoint = endpoint
        self.partition = partition
        self.lane: Lane | None = None  # None until it is known from where to go on
        self._log = log_
        self._backplane = log_.backplane
        self._here = Here(partition, log_.partition_of)
        self._poster = poster
        self._gate = gate  # bounds what is under way to this endpoint
        self._burial = burial
        self._metrics = metrics
        self._woken = asyncio.Event()  # there may be something to send
        self._freed = asyncio.Event()  # there may be room to read
        self._fields = {"partition": partition, "endpoint": endpoint.name}

    async def run(self) -> None:
        """Tell until cancelled. If the log does not answer, try again."""
        while True:
            try:
                await self._follow()
            except* (Unavailable, ProducerEnded, Trimmed) as errors:
                self._burial.forget()
                log.warning(
                    "endpoint %s is not told of partition %s now: %s",
                    *(self.endpoint.name, self.partition, _first(errors)),
                    extra=self._fields,
                )
            await asyncio.sleep(RETRY_S)

    @property
    def place(self) -> Place | None:
        """Up to below where everything is done with; None: not known yet."""
        return self.lane.place if self.lane else None

    # -- from where to go on

    async def _follow(self) -> None:
        async with asyncio.TaskGroup() as group:
            start = await self._start()
            lane = self.lane = Lane(start.place)
            for told in start.dropped:
                lane.add(told, start.place, now_ms())
            position, fold = await self._fold(start.place.offset - 1)
            group.create_task(self._send(lane))
            group.create_task(self._read(lane, position, fold, start.place.offset))

    async def _start(self) -> _Start:
        committed = await self._backplane.committed(self.endpoint.group, MESSAGES, self.partition)
        start, end = await self._backplane.bounds(MESSAGES, self.partition)
        if committed is None:
            first = await self._backplane.offset_at(
                MESSAGES, self.partition, self.endpoint.created_ms
            )
            return _Start(Place(0, first))
        done = committed._replace(offset=committed.offset - 1)
        if not await still_holds(self._backplane, self.partition, done, (start, end)):
            first, _ = await goes_on_at(self._backplane, self.partition, done)
            log.error("the log has lost an end that was told", extra=self._fields)
            self._metrics.lost_place()
            return _Start(Place(0, first))
        if committed.offset < start:
            return self._without(committed.offset, start)
        return _Start(committed)

    def _without(self, first: int, below: int) -> _Start:
        """Go on although the log has dropped what was not told, and say so."""
        self._metrics.dropped(below - first)
        log.error(
            "endpoint %s misses the offsets %s to %s of partition %s: the log has dropped them",
            *(self.endpoint.name, first, below - 1, self.partition),
            extra=self._fields,
        )
        told = of_dropped(self.partition, first, below, now_ms())
        return _Start(Place(0, below), (told,))

    async def _fold(self, position: int) -> tuple[int, Fold]:
        """Return from where to read on, and the fold there: further back if only what lies there
        says what counts.
        """
        if fold := await known_fold_at(self._backplane, self.partition, position):
            return position, fold
        start, _ = await self._backplane.bounds(MESSAGES, self.partition)
        cut = await read_cut_log(self._backplane, self.partition, start)
        assert cut.fold, "it was read until that was known"
        return start - 1, cut.fold

    # -- reading

    async def _read(self, lane: Lane, position: int, fold: Fold, first: int) -> None:
        batches = records_after(self._backplane, self.partition, Place(fold.clock_ms, position))
        async with aclosing(batches):
            async for batch in batches:
                await self._take(lane, fold, batch, first)

    async def _take(self, lane: Lane, fold: Fold, batch: Sequence[Record], first: int) -> None:
        for record in batch:
            place = Place(fold.clock_ms, record.offset)
            decoded = decode_once(record)
            counts = fold.step(record.offset, decoded, record.appended_at_ms)
            if record.offset < first:
                continue
            for gap in fold.gaps.found:
                lost = of_dropped(self.partition, gap.first, gap.last + 1, record.appended_at_ms)
                lane.add(lost, place, record.appended_at_ms)
                self._metrics.dropped(gap.last + 1 - gap.first)
            told = told_of(decoded, self._here) if counts else None
            if told and self.endpoint.wants(told):
                await self._room(lane)
                lane.add(told, place, record.appended_at_ms)
            lane.read_to(Place(fold.clock_ms, record.offset + 1))
        self._woken.set()

    async def _room(self, lane: Lane) -> None:
        while not lane.has_room:
            self._woken.set()
            self._freed.clear()
            await self._freed.wait()

    # -- sending

    async def _send(self, lane: Lane) -> None:
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as under_way:
            while True:
                self._woken.clear()
                for item in lane.due(loop.time()):
                    under_way.create_task(self._deliver(lane, item))
                next_s = lane.next_s
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(next_s):
                        await self._woken.wait()

    async def _deliver(self, lane: Lane, item: Item) -> None:
        async with self._gate:
            answer = await self._poster.post(self.endpoint, item.told)
        self._metrics.answered(answer)
        await self._settle(lane, item, answer)
        self._woken.set()
        self._freed.set()

    async def _settle(self, lane: Lane, item: Item, answer: Answer) -> None:
        now_s = asyncio.get_running_loop().time()
        if answer.verdict == "taken":
            lane.taken(item)
        elif answer.verdict == "refused" or lane.failed(item, now_s, spread(), answer.pause_s):
            letter = letter_of(self.endpoint, self.partition, item, answer.why)
            await self._burial.bury([letter])
            lane.parked(item)
            self._metrics.parked()
            log.error(
                "endpoint %s does not take the webhook %s, which is parked: %s",
                *(self.endpoint.name, item.told.id, answer.why),
                extra=self._fields,
            )


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
