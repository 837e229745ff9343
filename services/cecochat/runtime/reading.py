"""Reading a partition of the log from the middle: with the fold that stands there, from the last
state record before.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing

from cecochat.domain.errors import Undecodable
from cecochat.domain.fold import Fold
from cecochat.domain.records import LogRecord, State, decode
from cecochat.ports.backplane import MESSAGES, Backplane, Record

log = logging.getLogger(__name__)

LOOK_BACK = 2_048
"""Records to look for a state record in; owners append one about every 1,000."""

Decoded = tuple[int, LogRecord]


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
    async for _, record in between(backplane, partition, start, end):
        if isinstance(record, State) and record.as_of >= start - 1:
            return record.as_of
    return end - 1


async def fold_at(backplane: Backplane, partition: int, position: int) -> Fold:
    """The fold after the record at `position`, which must not lie below `first_known`. Raises
    `Trimmed`.
    """
    start, _ = await backplane.bounds(MESSAGES, partition)
    low, look_back = position + 1, LOOK_BACK
    while low > start:
        low = max(start, position + 1 - look_back)
        records = [each async for each in between(backplane, partition, low, position + 1)]
        if fold := _from_state(records, low):
            return fold
        look_back *= 4
    if start == 0:
        return _continued(
            Fold(), -1, [each async for each in between(backplane, partition, 0, position + 1)]
        )
    return await _from_first_state(backplane, partition, start, position)


def _from_state(records: list[Decoded], low: int) -> Fold | None:
    for _, record in reversed(records):
        if isinstance(record, State) and record.as_of >= low - 1:
            return _continued(Fold.restored(record), record.as_of, records)
    return None


def _continued(fold: Fold, position: int, records: list[Decoded]) -> Fold:
    for offset, record in records:
        if offset > position:
            fold.step(offset, record)
    return fold


async def _from_first_state(
    backplane: Backplane, partition: int, start: int, position: int
) -> Fold:
    """The only state record for a position just above what retention left stands above it."""
    _, end = await backplane.bounds(MESSAGES, partition)
    before: list[Decoded] = []
    async for offset, record in between(backplane, partition, start, end):
        if isinstance(record, State) and start - 1 <= record.as_of <= position:
            return _continued(
                Fold.restored(record),
                record.as_of,
                [each for each in before if each[0] <= position],
            )
        before.append((offset, record))
    raise LookupError(f"partition {partition}: no state record at or before position {position}")


async def between(
    backplane: Backplane, partition: int, low: int, high: int
) -> AsyncGenerator[Decoded]:
    """The decodable records from `low` to below `high`, which must not lie beyond the end. Raises
    `Trimmed`.
    """
    if low >= high:
        return
    async with aclosing(backplane.read(MESSAGES, partition, low)) as batches:
        async for batch in batches:
            for record in batch:
                if record.offset >= high:
                    return
                known = decode_once(record)
                if not isinstance(known, Undecodable):
                    yield record.offset, known
            if batch[-1].offset >= high - 1:
                return
