"""Finds one message in the log without an index: an origin by its id, a copy by its origin."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import NamedTuple

from cecochat.domain.errors import Trimmed, Undecodable
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Copy, LogRecord, Origin, State, Takeover
from cecochat.ports.backplane import MESSAGES, Backplane, Record
from cecochat.ports.reading import (
    decode_once,
    first_known,
    fold_at,
    records_between,
    state_in,
    still_holds,
)
from cecochat.where.search import Precedes, Search, before_copy, before_origin

LATE = 2_000
"""How many records to search, past where an origin would count, for one that does not count."""


class Found(NamedTuple):
    """A record, and what the fold says about it: its place, whether it counts, and its epoch.

    `in_doubt`: it does not count for what is left of the log, but may have been acknowledged.
    """

    record: Record
    content: LogRecord | Undecodable
    place: Place
    counts: bool
    epoch: Place
    in_doubt: bool = False


class Finding(NamedTuple):
    """The result of a search. `kept`: whether the log reaches back to where the record would be,
    and hides nothing there.
    """

    found: Found | None
    kept: bool


class Standing(NamedTuple):
    """A partition at its end: its bounds, who took it over last, and what has counted.

    `server_id` is None if the log no longer says.
    """

    start: int
    end: int
    server_id: str | None
    fold: Fold


class _Beginning(NamedTuple):
    position: int  # the fold has taken everything up to here
    fold: Fold
    kept: bool


async def find_origin(backplane: Backplane, partition: int, message_id: int) -> Finding:
    """Find the origin record of a message: the one that counts, or else one that does not.

    Raises `Trimmed` if retention overtakes the search, `Unavailable`.
    """
    begun = await _begin(backplane, partition, before_origin(message_id))
    void: Found | None = None
    passed_at: int | None = None
    hidden = False  # whether something is, where the message would be
    async with aclosing(_folded(backplane, partition, begun)) as records:
        async for each in records:
            hidden |= passed_at is None and begun.fold.gaps.hides
            if isinstance(each.content, Origin) and each.content.id == message_id:
                if each.counts:
                    return Finding(each, kept=True)
                void = each
            elif isinstance(each.content, Origin) and each.counts and each.content.id > message_id:
                passed_at = each.record.offset if passed_at is None else passed_at
            elif isinstance(each.content, Origin) and each.counts:
                hidden = False  # the message stands behind this one
            if passed_at is not None and each.record.offset > passed_at + LATE:
                break
    return Finding(void, begun.kept and not hidden)


async def find_copy(
    backplane: Backplane, partition: int, origin_partition: int, origin: Place
) -> Finding:
    """Find the copy that counts of the origin at a place. Raises as `find_origin` does."""
    begun = await _begin(backplane, partition, before_copy(origin_partition, origin))
    async with aclosing(_folded(backplane, partition, begun)) as records:
        async for each in records:
            copy = each.content
            if not (isinstance(copy, Copy) and each.counts):
                continue
            if copy.origin_partition == origin_partition and not origin.lies_above(copy.origin):
                exact = copy.origin.is_same(origin)
                return Finding(each if exact else None, begun.kept)
    return Finding(None, begun.kept)


async def standing(backplane: Backplane, partition: int) -> Standing:
    """Return the partition as it is now. Raises `Unavailable`."""
    start, end = await backplane.bounds(MESSAGES, partition)
    fold = await fold_at(backplane, partition, end - 1)
    return Standing(start, end, await taken_over_by(backplane, partition, fold.epoch), fold)


async def taken_over_by(backplane: Backplane, partition: int, epoch: Place) -> str | None:
    """Return the server whose takeover began an epoch, or None if the log does not hold it."""
    if epoch.offset < 0:
        return None
    try:
        if await still_holds(backplane, partition, epoch):
            return await _taken_over_at(backplane, partition, epoch.offset)
    except Trimmed:
        pass
    return None


async def _taken_over_at(backplane: Backplane, partition: int, offset: int) -> str | None:
    async with aclosing(records_between(backplane, partition, offset, offset + 1)) as records:
        async for record in records:
            content = decode_once(record)
            return content.server_id if isinstance(content, Takeover) else None
    return None


async def _begin(backplane: Backplane, partition: int, precedes: Precedes) -> _Beginning:
    start, end = await backplane.bounds(MESSAGES, partition)
    search = Search(start, end, precedes)
    while (at := search.at) is not None:
        search.saw(at, *await _first_state(backplane, partition, at, search.high))
    if search.state:
        return _Beginning(search.state.as_of, Fold.restored(search.state), kept=True)
    if start == 0:
        return _Beginning(-1, Fold(), kept=True)
    position = await first_known(backplane, partition)
    if position >= end - 1:  # no state record is left, so nothing is known about the past
        return _Beginning(position, Fold(), kept=False)
    fold = await fold_at(backplane, partition, position)
    return _Beginning(position, fold, kept=precedes(fold.state(position)))


async def _first_state(
    backplane: Backplane, partition: int, low: int, high: int
) -> tuple[int, State | None]:
    """Return the first state record from `low` to below `high`, after its offset."""
    async with aclosing(records_between(backplane, partition, low, high)) as records:
        async for record in records:
            state = state_in(record)
            if state and await _tells_of_this_log(backplane, partition, record, state):
                return record.offset, state
    return high, None


async def _tells_of_this_log(
    backplane: Backplane, partition: int, record: Record, state: State
) -> bool:
    """Return whether a state record is about this log, not about an end that the log has lost."""
    place = Place(state.clock_ms, state.as_of)
    return state.as_of < record.offset and await still_holds(backplane, partition, place)


async def _folded(backplane: Backplane, partition: int, begun: _Beginning) -> AsyncGenerator[Found]:
    """Yield the records after the beginning, up to the present end of the log."""
    _, end = await backplane.bounds(MESSAGES, partition)
    fold = begun.fold
    records = records_between(backplane, partition, begun.position + 1, end)
    async with aclosing(records):
        async for record in records:
            content = decode_once(record)
            epoch = fold.epoch
            counts = fold.step(record.offset, content, record.appended_at_ms)
            in_doubt = isinstance(content, Origin) and any(
                gap.id == content.id for gap in fold.gaps.found
            )
            place = Place(fold.clock_ms, record.offset)
            yield Found(record, content, place, counts, epoch, in_doubt)
