"""Reading a partition of the log from the middle: with the fold that stands there, from the last
state record before.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from cecochat.domain.errors import Trimmed, Undecodable
from cecochat.domain.fold import Fold
from cecochat.domain.records import LogRecord, State, decode, is_state
from cecochat.domain.undecided import Undecided
from cecochat.ports.backplane import MESSAGES, Backplane, Record

log = logging.getLogger(__name__)

LOOK_BACK = 1_200
"""Records to look for a state record in; owners append one about every 1,000."""
NEVER = 1 << 63
"""An offset that no record has."""


def decode_once(record: Record) -> LogRecord | Undecodable:
    """What a record says, or why it cannot be understood; decoded once for all readers."""
    if record.decoded is None:
        try:
            record.decoded = decode(record.key, record.value, record.headers)
        except Undecodable as error:
            log.warning("offset %s is skipped: %s", record.offset, error)
            record.decoded = error
    return record.decoded


async def first_known(backplane: Backplane, partition: int) -> int:
    """The lowest position whose state can be had; -1 where the log is whole."""
    start, end = await backplane.bounds(MESSAGES, partition)
    if start == 0:
        return -1
    async with aclosing(records_between(backplane, partition, start, end)) as records:
        async for record in records:
            if (state := state_in(record)) and state.as_of >= start - 1:
                return state.as_of
    return end - 1


async def fold_at(backplane: Backplane, partition: int, position: int) -> Fold:
    """The fold after the record at `position`, which must not lie below `first_known`. Where no
    state record is left, nobody has owned the partition for as long as records are kept: what could
    come again is gone too, and it starts afresh. Raises `Trimmed`.
    """
    if fold := await known_fold_at(backplane, partition, position):
        return fold
    start, end = await backplane.bounds(MESSAGES, partition)
    if position < end - 1:
        raise Trimmed(partition, position, start)
    named = {"partition": partition}
    log.warning("partition %s: no state is left in %s to %s", partition, start, end, extra=named)
    return Fold()


async def known_fold_at(backplane: Backplane, partition: int, position: int) -> Fold | None:
    """The same; None where what is left of the log does not tell. Raises `Trimmed`."""
    start, _ = await backplane.bounds(MESSAGES, partition)
    records: list[Record] = []
    low = position + 1
    while low > start:
        high, low = low, max(start, low - LOOK_BACK)
        earlier = records_between(backplane, partition, low, high)
        async with aclosing(earlier):
            records = [record async for record in earlier] + records
        if state := _last_state(records, low):
            return _continued(Fold.restored(state), state.as_of, records)
    if start == 0:
        return _continued(Fold(), -1, records)
    return await _from_first_state(backplane, partition, start, position)


async def appended_at_ms(backplane: Backplane, partition: int, offset: int) -> int:
    """When the first record from `offset` on was appended, by the log's own clock."""
    async with aclosing(backplane.read(MESSAGES, partition, offset)) as batches:
        async for batch in batches:
            return batch[0].appended_at_ms
    raise AssertionError("a log has no end")


def state_in(record: Record) -> State | None:
    """What a state record says; None: it is none."""
    known = decode_once(record) if is_state(record.headers) else None
    return known if isinstance(known, State) else None


def _last_state(records: list[Record], low: int) -> State | None:
    for record in reversed(records):
        if (state := state_in(record)) and state.as_of >= low - 1:
            return state
    return None


def _continued(fold: Fold, position: int, records: list[Record]) -> Fold:
    for record in records:
        if record.offset > position:
            known = decode_once(record)
            if not isinstance(known, Undecodable):
                fold.step(record.offset, known)
    return fold


async def _from_first_state(
    backplane: Backplane, partition: int, start: int, position: int
) -> Fold | None:
    """The only state record for a position just above what retention left stands above it; owners
    append one every hour.
    """
    _, end = await backplane.bounds(MESSAGES, partition)
    before: list[Record] = []
    async with aclosing(records_between(backplane, partition, start, end)) as records:
        async for record in records:
            if (state := state_in(record)) and start - 1 <= state.as_of <= position:
                known = [each for each in before if each.offset <= position]
                return _continued(Fold.restored(state), state.as_of, known)
            before.append(record)
    return None


async def decided(
    backplane: Backplane, partition: int, start: int, end: int | None = None
) -> Undecided:
    """Read from `start`, where the log begins, until it is known which origins count; with `end`,
    below which that may not be known: until everything is. Raises `Trimmed`.
    """
    undecided = Undecided(start)
    batches = between(backplane, partition, start, NEVER if end is None else end)
    async with aclosing(batches) as records:
        async for offset, record in records:
            undecided.take(offset, record)
            if undecided.complete or (end is None and undecided.fold):
                break
    return undecided


async def between(
    backplane: Backplane, partition: int, low: int, high: int
) -> AsyncGenerator[tuple[int, LogRecord]]:
    """The decodable records from `low` to below `high`, which are waited for if they lie beyond the
    end. Raises `Trimmed`.
    """
    async with aclosing(records_between(backplane, partition, low, high)) as records:
        async for record in records:
            known = decode_once(record)
            if not isinstance(known, Undecodable):
                yield record.offset, known


async def records_between(
    backplane: Backplane, partition: int, low: int, high: int
) -> AsyncGenerator[Record]:
    """As `between`, whatever they say."""
    if low >= high:
        return
    async with aclosing(backplane.read(MESSAGES, partition, low)) as batches:
        async for batch in batches:
            for record in batch:
                if record.offset >= high:
                    return
                yield record
            if batch[-1].offset >= high - 1:
                return
