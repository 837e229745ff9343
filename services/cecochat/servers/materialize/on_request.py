"""Compares a part of the log with the history at once, for whoever asks, and repairs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from cecochat.domain.errors import Invalid, Unavailable
from cecochat.domain.log.ids import time_ms
from cecochat.domain.log.place import Place
from cecochat.ports.backplane import MESSAGES, Backplane
from cecochat.ports.history import History
from cecochat.servers.materialize.comparing import (
    Budget,
    Expected,
    Missing,
    Walk,
    missing,
    restore,
    whole,
)

LOOK_AGAIN_S = 2.0
STEP_RECORDS = 5_000
STEP_BYTES = 16 << 20


class Step(NamedTuple):
    """What was found in a part of a partition; `whole`: up to where there is more."""

    up_to: int
    whole: int
    time_ms: int  # of the last message up to there, ms since 1970; 0: there is none
    rows: int
    missing: list[Missing]


class OnRequest:
    """One step at a time, whoever asks. `note` is told what is missing and is not repaired."""

    def __init__(
        self, backplane: Backplane, history: History, note: Callable[[list[Missing]], None]
    ) -> None:
        self._backplane = backplane
        self._history = history
        self._note = note
        self._one_at_a_time = asyncio.Lock()
        self._last: tuple[int, Walk] | None = None  # (partition, walk): most often it goes on

    async def step(
        self, partition: int, after: int | None, *, since_ms: int = 0, repair: bool = False
    ) -> Step:
        """Compare the next records of a partition behind the offset `after`, or those since a time;
        and, where that is asked for, write again what is missing. Raises `Refusal` where the log
        ends before; `Trimmed`, `Unavailable`.
        """
        async with self._one_at_a_time:
            if after is None:
                after = await self._backplane.offset_at(MESSAGES, partition, since_ms) - 1
            walk = await self._walk(partition, after)
            up_to = await whole(self._backplane, partition)
            expected = await _read(walk, partition, up_to)
            found = await self._seen_twice(expected)
            if repair and found:
                await restore(self._history, found)
            else:
                self._note(found)
            self._last = partition, walk
        at_ms = time_ms(walk.last_id) if walk.last_id else 0
        return Step(walk.position, up_to, at_ms, len(expected), found)

    async def _walk(self, partition: int, after: int) -> Walk:
        """The last one, where it stands there: it has the fold. One that failed is gone."""
        last, self._last = self._last, None
        if last and last[0] == partition and last[1].position == after:
            await last[1].check()
            return last[1]
        _, end = await self._backplane.bounds(MESSAGES, partition)
        if after >= end:
            raise Invalid(f"partition {partition} ends before that: use an `after` below {end}")
        return Walk(self._backplane, partition, Place(0, after))

    async def _seen_twice(self, expected: list[Expected]) -> list[Missing]:
        found = await missing(self._history, expected)
        if not found:
            return []
        await asyncio.sleep(LOOK_AGAIN_S)
        still = await missing(self._history, [each.expected for each in found.values()])
        return [found[key] for key in still if key in found]


async def _read(walk: Walk, partition: int, up_to: int) -> list[Expected]:
    """Raises `Unavailable` where the walk cannot begin for now: who asks would ask for ever."""
    expected = await walk.read(up_to, Budget(STEP_RECORDS, STEP_BYTES))
    if walk.position < up_to and not walk.has_begun:
        raise Unavailable(f"partition {partition}: nothing in the log tells yet what counts")
    return expected
