"""Compares a part of the log with the history on request, and repairs the history."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from cecochat.domain.errors import Invalid, Unavailable
from cecochat.domain.log.ids import time_ms
from cecochat.domain.log.place import Place
from cecochat.ports.backplane import MESSAGES, Backplane
from cecochat.ports.history import History
from cecochat.ports.reading import Standing
from cecochat.servers.materialize.comparing import (
    Budget,
    Expected,
    HiddenStretch,
    MissingRow,
    Walk,
    find_missing,
    joined,
    restore,
)

LOOK_AGAIN_S = 2.0
STEP_RECORDS = 5_000
STEP_BYTES = 16 << 20


class Step(NamedTuple):
    """What was found in a part of a partition, up to the offset `up_to`. Up to the offset `whole`
    there is more to compare.
    """

    up_to: int
    whole: int
    time_ms: int  # of the last message up to `up_to`, in ms since 1970; 0: there is none
    rows: int
    missing: list[MissingRow]
    hidden: list[HiddenStretch]


class OnRequest:
    """Compares one step at a time. `note` is called with what is missing and not repaired."""

    def __init__(
        self, backplane: Backplane, history: History, note: Callable[[list[MissingRow]], None]
    ) -> None:
        self._backplane = backplane
        self._history = history
        self._note = note
        self._one_at_a_time = asyncio.Lock()
        self._last: tuple[int, Walk] | None = None  # (partition, walk), since most steps go on

    async def step(
        self, partition: int, after: int | None, *, since_ms: int = 0, repair: bool = False
    ) -> Step:
        """Compare the next records of a partition after the offset `after`, or since a time (ms
        since 1970). If `repair` is true, write again what is missing.

        Raises `Refusal` if the log ends before that, and `Trimmed` and `Unavailable`.
        """
        async with self._one_at_a_time:
            if after is None:
                after = await self._backplane.offset_at(MESSAGES, partition, since_ms) - 1
            walk = await self._walk(partition, after)
            standing = await Standing.of(self._backplane, partition)
            up_to = await standing.materialized(self._backplane)
            expected = await _read(walk, partition, up_to)
            found = await self._seen_twice(expected)
            if repair and found:
                await restore(self._history, found)
            else:
                self._note(found)
            self._last = partition, walk
        at_ms = time_ms(walk.last_id) if walk.last_id else 0
        hidden = joined(walk.hidden)
        return Step(walk.position, up_to, at_ms, len(expected), found, hidden)

    async def _walk(self, partition: int, after: int) -> Walk:
        """Return the walk to read with: the last one if it goes on here, since it has the fold."""
        last, self._last = self._last, None
        if last and last[0] == partition and last[1].position == after:
            await last[1].check()
            return last[1]
        _, end = await self._backplane.bounds(MESSAGES, partition)
        if after >= end:
            raise Invalid(f"partition {partition} ends before {after}: use an `after` below {end}")
        return Walk(self._backplane, partition, Place(0, after))

    async def _seen_twice(self, expected: list[Expected]) -> list[MissingRow]:
        found = await find_missing(self._history, expected)
        if not found:
            return []
        await asyncio.sleep(LOOK_AGAIN_S)
        still = await find_missing(self._history, [each.expected for each in found.values()])
        return [found[key] for key in still if key in found]


async def _read(walk: Walk, partition: int, up_to: int) -> list[Expected]:
    """Read the next rows. Raises `Unavailable` if the walk cannot begin now, or the caller would
    ask for ever.
    """
    expected = await walk.read(up_to, Budget(STEP_RECORDS, STEP_BYTES))
    if walk.position < up_to and not walk.has_begun:
        raise Unavailable(f"the log of partition {partition} does not say yet which records count")
    return expected
