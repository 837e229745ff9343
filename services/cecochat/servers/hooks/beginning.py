"""From where a reader of a partition goes on, and what it will never be told."""

from __future__ import annotations

import logging
from typing import NamedTuple

from cecochat.domain.hooks.told import Told, of_dropped
from cecochat.domain.log.chain import Here
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.place import Place
from cecochat.ports.backplane import MESSAGES, Backplane
from cecochat.ports.reading import goes_on_at, known_fold_at, read_cut_log, still_holds
from cecochat.runtime.clock import now_ms
from cecochat.servers.hooks.metrics import OfEndpoint

log = logging.getLogger(__name__)


class Beginning(NamedTuple):
    """From where to go on, and what to say of what is missing before."""

    place: Place
    dropped: tuple[Told, ...] = ()
    missing: int = 0  # records
    lost: bool = False  # the place lay in an end that the log has lost


async def beginning(
    backplane: Backplane, group: str, here: Here, since_ms: int, metrics: OfEndpoint | None
) -> Beginning:
    """Return where a group of readers goes on in a partition: where it has come to, or else at what
    was appended since `since_ms`. What is missing is counted in `metrics`. Raises `Unavailable`,
    `Trimmed`.
    """
    partition = here.partition
    committed = await backplane.committed(group, MESSAGES, partition)
    if committed is None:
        return Beginning(Place(0, await backplane.offset_at(MESSAGES, partition, since_ms)))
    found = await goes_on(backplane, here, committed)
    fields = {"partition": partition, "group": group}
    if found.lost:
        log.error("the log has lost an end that was told", extra=fields)
    if found.missing:
        log.error(
            "%s misses the offsets %s to %s of partition %s: the log has dropped them",
            *(group, committed.offset, found.place.offset - 1, partition),
            extra=fields,
        )
    if metrics and found.lost:
        metrics.lost_place()
    if metrics and found.missing:
        metrics.dropped(found.missing)
    return found


async def goes_on(backplane: Backplane, here: Here, at: Place) -> Beginning:
    """Return where a reader goes on who had read all below a place. Raises `Unavailable`,
    `Trimmed`.
    """
    partition = here.partition
    start, end = await backplane.bounds(MESSAGES, partition)
    done = at._replace(offset=at.offset - 1)
    if not await still_holds(backplane, partition, done, (start, end)):
        first, _ = await goes_on_at(backplane, partition, done)
        return Beginning(Place(0, first), lost=True)
    if at.offset >= start:
        return Beginning(at)
    told = of_dropped(partition, at.offset, start, now_ms())
    return Beginning(Place(0, start), (told,), start - at.offset)


async def fold_below(
    backplane: Backplane, here: Here, first: int, *, with_groups: bool = False
) -> tuple[int, Fold]:
    """Return up to where `first` is read already, and the fold there: further back if only what
    lies there says what counts. Raises `Unavailable`, `Trimmed`.
    """
    partition_of = here.partition_of if with_groups else None
    if fold := await known_fold_at(backplane, here.partition, first - 1, partition_of):
        return first - 1, fold
    start, _ = await backplane.bounds(MESSAGES, here.partition)
    cut = await read_cut_log(backplane, here.partition, start, partition_of=partition_of)
    assert cut.fold, "it was read until that was known"
    return start - 1, cut.fold
