"""Reading a partition of the log from the middle: with the fold that stands there, from the last
state record before.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import NamedTuple

from cecochat.domain.errors import Trimmed, Unavailable, Undecodable
from cecochat.domain.log.chain import Here, PartitionOf
from cecochat.domain.log.cut import CutLog
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Copied, LogRecord, State, decode, is_state, is_takeover
from cecochat.domain.log.reliable import ReliableStates
from cecochat.ports.backplane import MATERIALIZE_GROUP, MESSAGES, Backplane, Record

log = logging.getLogger(__name__)

LOOK_BACK = 1_200
"""Records to look for a state record in; owners append one about every 1,000."""
NEVER = 1 << 63
"""An offset that no record has."""


def decode_once(record: Record) -> LogRecord | Undecodable:
    """Return what a record says, or why it cannot be understood; decoded once for all readers."""
    if record.decoded is None:
        try:
            record.decoded = decode(record.key, record.value, record.headers)
        except Undecodable as error:
            log.warning("offset %s is skipped: %s", record.offset, error)
            record.decoded = error
    return record.decoded


async def first_known(backplane: Backplane, partition: int) -> int:
    """Return the lowest position whose state can be had, with all groups; -1 where the log is
    whole.
    """
    start, end = await backplane.bounds(MESSAGES, partition)
    if start == 0:
        return -1
    reliable = ReliableStates(start, with_groups=True)
    async with aclosing(records_between(backplane, partition, start, end)) as records:
        async for record in records:
            if state := _state_in(record, reliable):
                return state.as_of
    return end - 1


async def fold_at(
    backplane: Backplane, partition: int, position: int, partition_of: PartitionOf | None = None
) -> Fold:
    """Return the fold after the record at `position`, which must not lie below `first_known`: an
    empty one at the end of a log that does not tell. Raises `Trimmed`. `partition_of` is for those
    who serve users: see `Fold`.
    """
    if fold := await known_fold_at(backplane, partition, position, partition_of):
        return fold
    start, end = await backplane.bounds(MESSAGES, partition)
    if position < end - 1:
        raise Trimmed(partition, position, start)
    named = {"partition": partition}
    log.warning("partition %s: no state is left in %s to %s", partition, start, end, extra=named)
    return Fold(_here(partition, partition_of))


def _here(partition: int, partition_of: PartitionOf | None) -> Here | None:
    return Here(partition, partition_of) if partition_of else None


async def known_fold_at(
    backplane: Backplane, partition: int, position: int, partition_of: PartitionOf | None = None
) -> Fold | None:
    """Like `fold_at`, but None if what is left of the log does not say. Raises `Trimmed`."""
    start, _ = await backplane.bounds(MESSAGES, partition)
    here = _here(partition, partition_of)
    records: list[Record] = []
    low = position + 1
    while low > start:
        high, low = low, max(start, low - LOOK_BACK)
        earlier = records_between(backplane, partition, low, high)
        async with aclosing(earlier):
            records = [record async for record in earlier] + records
        known_from = start if low == start else low + 1
        if state := _last_state(records, known_from, with_groups=here is not None):
            return _continued(Fold.restored(state, here), state.as_of, records)
    if start == 0:
        return _continued(Fold(here), -1, records)
    return await _from_first_state(backplane, start, position, partition, here)


async def last_for(
    backplane: Backplane, origin: int, target: int, partition_of: PartitionOf
) -> Copied | None:
    """Return the last origin of a partition that concerns the users of another one; None: what is
    left of its log does not tell. Raises `Trimmed`.
    """
    _, end = await backplane.bounds(MESSAGES, origin)
    fold = await known_fold_at(backplane, origin, end - 1, partition_of)
    return fold.chain.last_for(target) if fold else None


async def appended_at_ms(backplane: Backplane, partition: int, offset: int) -> int:
    """Return when the first record from `offset` on was appended, by the log's own clock."""
    return (await _first_from(backplane, partition, offset)).appended_at_ms


async def _first_from(backplane: Backplane, partition: int, offset: int) -> Record:
    async with aclosing(backplane.read(MESSAGES, partition, offset)) as batches:
        async for batch in batches:
            return batch[0]
    raise AssertionError("a log has no end")


async def records_after(
    backplane: Backplane, partition: int, place: Place, *, gather_s: float = 0.0
) -> AsyncGenerator[Sequence[Record]]:
    """The batches of records behind a place that a fold stands at, without end. `gather_s` is that
    of `Backplane.read`. Raises `Unavailable` where the log has lost what the fold has read.
    """
    checked = False
    reading = backplane.read(MESSAGES, partition, place.offset + 1, gather_s=gather_s)
    async with aclosing(reading) as batches:
        async for batch in batches:
            if not checked and not await still_holds(backplane, partition, place):
                raise Unavailable(f"partition {partition}: the log has lost its end")
            checked = True  # what is lost later, the reading itself says
            yield batch


async def still_holds(
    backplane: Backplane, partition: int, place: Place, bounds: tuple[int, int] | None = None
) -> bool:
    """Return whether the log is still the one that the place was told of. One that lost its end has
    nothing at that offset, or what is newer. What retention has dropped counts as held, and so does
    what has vanished from the middle: a log that lost its end gives every offset again. `bounds`:
    those of the partition, if they were asked for after that place was known.
    """
    start, end = bounds or await backplane.bounds(MESSAGES, partition)
    if place.offset < start or not place.clock_ms:
        return place.offset < end
    if place.offset >= end:
        return False
    first = await _first_from(backplane, partition, place.offset)
    return first.offset > place.offset or place.holds_where(first.appended_at_ms)


async def goes_on_at(backplane: Backplane, partition: int, lost: Place) -> tuple[int, int | None]:
    """Return where a log that has lost `lost` with its end continues: the first offset that was
    appended since, and when; None if nothing was yet. Raises `Trimmed`.
    """
    _, end = await backplane.bounds(MESSAGES, partition)
    first = min(lost.offset, end)
    if lost.clock_ms:
        first = await backplane.offset_at(MESSAGES, partition, lost.clock_ms + 1)
    if first >= end:
        return first, None
    return first, await appended_at_ms(backplane, partition, first)


async def dealt_with(
    backplane: Backplane,
    partition: int,
    committed: Place | None,
    bounds: tuple[int, int] | None = None,
) -> int | None:
    """Return up to where a group has dealt with the partition, by what it has committed; -1:
    nothing. None: that was of an end that the log has lost, and says nothing of what stands there
    now. `bounds` as in `still_holds`.
    """
    if committed is None:
        return -1
    last = committed._replace(offset=committed.offset - 1)
    return last.offset if await still_holds(backplane, partition, last, bounds) else None


class Standing(NamedTuple):
    """How a partition stands: what materialize has committed, and the bounds of its log then. Those
    of many partitions are cheap if they are asked for at the same time.
    """

    partition: int
    committed: Place | None
    bounds: tuple[int, int]

    @classmethod
    async def of(cls, backplane: Backplane, partition: int) -> Standing:
        """Ask for it; in this order, so that what is committed lies within the bounds."""
        committed = await backplane.committed(MATERIALIZE_GROUP, MESSAGES, partition)
        return cls(partition, committed, await backplane.bounds(MESSAGES, partition))

    @property
    def said(self) -> int:
        """The offset up to which materialize says that the history has everything."""
        return self.committed.offset - 1 if self.committed else -1

    async def materialized(self, backplane: Backplane) -> int:
        """Return the offset up to which the history has everything, as materialize has committed
        it; -1 if it has nothing, or if that was committed in an end that the log has lost.
        Materialize commits only what is durable, and goes back if the database has lost rows.
        """
        done = await dealt_with(backplane, *self)
        return -1 if done is None else done


def state_in(record: Record) -> State | None:
    """Return what a state record says; None: it is none."""
    known = decode_once(record) if is_state(record.headers) else None
    return known if isinstance(known, State) else None


def _state_in(record: Record, states: ReliableStates) -> State | None:
    """Return what the next record tells of those before it, as a state record that can be relied
    on.
    """
    telling = is_state(record.headers) or is_takeover(record.headers)
    known = decode_once(record) if telling else None
    return states.take(record.offset, known, record.appended_at_ms)


def _last_state(records: list[Record], start: int, *, with_groups: bool) -> State | None:
    reliable = ReliableStates(start, with_groups=with_groups)
    states = [state for record in records if (state := _state_in(record, reliable))]
    return states[-1] if states else None


def _continued(fold: Fold, position: int, records: list[Record]) -> Fold:
    for record in records:
        if record.offset > position:
            known = decode_once(record)
            fold.step(record.offset, known, record.appended_at_ms)
    return fold


async def _from_first_state(
    backplane: Backplane, start: int, position: int, partition: int, here: Here | None
) -> Fold | None:
    """Return the only state record for a position just above what retention left stands above it;
    owners append one every hour.
    """
    _, end = await backplane.bounds(MESSAGES, partition)
    before: list[Record] = []
    reliable = ReliableStates(start, with_groups=here is not None)
    async with aclosing(records_between(backplane, partition, start, end)) as records:
        async for record in records:
            if (state := _state_in(record, reliable)) and state.as_of <= position:
                known = [each for each in before if each.offset <= position]
                return _continued(Fold.restored(state, here), state.as_of, known)
            before.append(record)
    return None


async def read_cut_log(
    backplane: Backplane,
    partition: int,
    start: int,
    end: int | None = None,
    partition_of: PartitionOf | None = None,
) -> CutLog:
    """Read from `start`, where the log begins, until it is known which origins count; with `end`,
    below which that may not be known: until everything is. Raises `Trimmed`.
    """
    cut = CutLog(start, _here(partition, partition_of))
    batches = between(backplane, partition, start, NEVER if end is None else end)
    async with aclosing(batches) as records:
        async for record in records:
            cut.take(*record)
            if cut.complete or (end is None and cut.fold):
                break
    return cut


class Lowest(NamedTuple):
    """The lowest position from which on everything is known about what is left of a log, and the
    fold there.
    """

    position: int
    fold: Fold
    last: Mapping[int, Copied] | None
    """For each target the last origin that may have been dropped; None: nothing is known of any."""
    begins: int
    """Of the origins below, nothing tells any more which of them count."""


async def lowest_fold(
    backplane: Backplane, partition: int, end: int, partition_of: PartitionOf
) -> Lowest:
    """Return the beginning of the log, where what is left below `end` tells what counts. Raises
    `Trimmed`.
    """
    start, _ = await backplane.bounds(MESSAGES, partition)
    cut = await read_cut_log(backplane, partition, start, end, partition_of)
    if cut.fold and cut.complete:
        begins = cut.unproven[-1].offset + 1 if cut.unproven else start
        return Lowest(start - 1, cut.fold, cut.last, begins)
    lowest = await first_known(backplane, partition)
    fold = await fold_at(backplane, partition, lowest, partition_of)
    return Lowest(lowest, fold, None, lowest + 1)


async def between(
    backplane: Backplane, partition: int, low: int, high: int
) -> AsyncGenerator[tuple[int, LogRecord | Undecodable, int]]:
    """The records from `low` to below `high`, which are waited for if they lie beyond the end, with
    their offsets and the times of their appends, as a fold takes them. Raises `Trimmed`.
    """
    async with aclosing(records_between(backplane, partition, low, high)) as records:
        async for record in records:
            yield record.offset, decode_once(record), record.appended_at_ms


async def records_between(
    backplane: Backplane, partition: int, low: int, high: int
) -> AsyncGenerator[Record]:
    """As `between`, as they stand in the log."""
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
