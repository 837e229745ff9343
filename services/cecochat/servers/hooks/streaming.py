"""Streams what happens to whoever consumes it, instead of sending webhooks."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Final, NamedTuple

from cecochat.domain.errors import Invalid, Trimmed, Unavailable
from cecochat.domain.hooks import cursor
from cecochat.domain.hooks.told import DROPPED, OF_EVENTS, Told, chat_matches, of_dropped, told_of
from cecochat.domain.log.chain import Here
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.place import Place
from cecochat.internal.v1.internal_pb2 import Tail
from cecochat.ports.backplane import MESSAGES, Log, Record
from cecochat.ports.reading import decode_once, records_after
from cecochat.sealing.opening import Opening
from cecochat.servers.hooks.beginning import fold_below, goes_on
from cecochat.servers.hooks.posting import body_of

LASTS_S: Final = 300.0
"""A stream ends then, so that streams spread over new servers, and end for tokens that are barred.
"""
CURSOR_S: Final = 1.0
IDLE_S: Final = 10.0
"""A cursor comes at least so often, which shows that the stream is alive."""
QUEUE_MAX: Final = 500  # records that wait for whoever reads slowly
BATCH_MAX: Final = 100
BEGIN_AT_ONCE: Final = 4

Write = Callable[[bytes], Awaitable[object]]


class _Step(NamedTuple):
    """A partition was read to below `place`, and this is to be told of it, if anything is."""

    partition: int
    place: Place
    told: Told | None


class Wanted(NamedTuple):
    """What a stream tells, and from where on."""

    places: dict[int, Place] | None  # by partition; None: from now on
    kinds: tuple[str, ...]
    app: str
    chats: tuple[str, ...]

    @classmethod
    def of(cls, tail: Tail, log: Log) -> Wanted:
        """Return what is asked for. Raises `Invalid`."""
        if unknown := [each for each in tail.kinds if each not in OF_EVENTS]:
            raise Invalid(f"{unknown[0]!r:.80} is no kind: use {', '.join(OF_EVENTS)}")
        places = cursor.decode(tail.after, log.id, log.partitions) if tail.after else None
        return cls(places, tuple(tail.kinds) or OF_EVENTS, tail.app, tuple(tail.chats))

    def has(self, told: Told) -> bool:
        """Return whether this is told."""
        if told.kind == DROPPED:
            return True
        return told.kind in self.kinds and chat_matches(told.chat_id, self.app, self.chats)


class Stream:
    """One stream. It reads all partitions, each in order, which is the order of each chat."""

    def __init__(self, log: Log, opening: Opening, wanted: Wanted) -> None:
        self._log = log
        self._backplane = log.backplane
        self._opening = opening
        self._wanted = wanted
        self._steps: asyncio.Queue[_Step] = asyncio.Queue(QUEUE_MAX)
        self._beginning = asyncio.Semaphore(BEGIN_AT_ONCE)
        self._places: dict[int, Place] = {}

    async def begin(self) -> None:
        """Find out from where to go on. Raises `Unavailable`."""
        self._places = self._wanted.places or await self._ends()

    async def _ends(self) -> dict[int, Place]:
        async def end(partition: int) -> Place:
            _, end = await self._backplane.bounds(MESSAGES, partition)
            return Place(0, end)

        numbers = range(self._log.partitions)
        return dict(zip(numbers, await asyncio.gather(*map(end, numbers)), strict=True))

    async def run(self, write: Write) -> None:
        """Write lines until the stream has lasted long enough. Each event is a line, and after some
        of them comes a line with the cursor behind them. Raises `Unavailable` or `Trimmed` if the
        log does not answer.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(LASTS_S), asyncio.TaskGroup() as group:
                for partition, place in list(self._places.items()):
                    group.create_task(self._read(Here(partition, self._log.partition_of), place))
                await self._write(write)

    # -- reading

    async def _read(self, here: Here, place: Place) -> None:
        async with self._beginning:
            start = await goes_on(self._backplane, here, place)
            position, fold = await fold_below(self._backplane, here, start.place.offset)
        for told in start.dropped:
            await self._steps.put(_Step(here.partition, start.place, told))
        after = Place(fold.clock_ms, position)
        async with aclosing(records_after(self._backplane, here.partition, after)) as batches:
            async for batch in batches:
                await self._take(here, fold, batch, start.place.offset)

    async def _take(self, here: Here, fold: Fold, batch: Sequence[Record], first: int) -> None:
        place: Place | None = None
        for record in batch:
            decoded = decode_once(record)
            counts = fold.step(record.offset, decoded, record.appended_at_ms)
            if record.offset < first:
                continue
            place = Place(fold.clock_ms, record.offset + 1)
            for gap in fold.gaps.found:
                at_ms = record.appended_at_ms
                lost = of_dropped(here.partition, gap.first, gap.last + 1, at_ms)
                await self._steps.put(_Step(here.partition, place._replace(offset=gap.first), lost))
            told = told_of(decoded, here) if counts else None
            if told and self._wanted.has(told):
                await self._steps.put(_Step(here.partition, place, told))
        if place:
            await self._steps.put(_Step(here.partition, place, None))

    # -- writing

    async def _write(self, write: Write) -> None:
        await write(self._cursor())
        written_s = time.monotonic()
        is_new = False
        while True:
            wait_s = CURSOR_S if is_new else IDLE_S
            if steps := await self._next(written_s + wait_s - time.monotonic()):
                await self._tell(write, steps)
                is_new = True
            if time.monotonic() - written_s >= wait_s:
                await write(self._cursor())
                written_s, is_new = time.monotonic(), False

    async def _next(self, wait_s: float) -> list[_Step]:
        """Return what waits, or what comes within a time."""
        steps: list[_Step] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, wait_s)):
                steps.append(await self._steps.get())
        while steps and len(steps) < BATCH_MAX and not self._steps.empty():
            steps.append(self._steps.get_nowait())
        return steps

    async def _tell(self, write: Write, steps: Sequence[_Step]) -> None:
        told = [each.told for each in steps if each.told]
        (opened,) = await self._opening.events([each.value for each in told])
        lines = [
            _line(each._replace(value=value)) for each, value in zip(told, opened, strict=True)
        ]
        if lines:
            await write(b"".join(lines))
        for each in steps:
            self._places[each.partition] = each.place

    def _cursor(self) -> bytes:
        text = cursor.encode(self._log.id, self._places)
        return json.dumps({"type": "cursor", "cursor": text}).encode() + b"\n"


def _line(told: Told) -> bytes:
    """Return the line of an event: the body of its webhook, with the id."""
    return f'{{"id":{json.dumps(told.id)},{body_of(told)[1:]}\n'.encode()


LOST = (Unavailable, Trimmed)
"""Why a stream may end early. Whoever reads it goes on at its last cursor."""
