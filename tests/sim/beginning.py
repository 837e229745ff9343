"""Reading a log from where it begins, when that is above what its readers have: what the asyncio
shells do with `Undecided`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cecochat.domain.log.chain import PlaceOf
from cecochat.domain.log.records import Copied
from cecochat.domain.log.undecided import Undecided
from cecochat.ports.reading import Lowest
from tests.sim.log import Log

if TYPE_CHECKING:
    from tests.sim.world import World


def decided(log: Log, *, all_: bool = False, place: PlaceOf | None = None) -> Undecided:
    """What is left, read until it is known which origins count, or everything is, or to its end."""
    undecided = Undecided(log.start, place)
    for offset in range(log.start, log.end):
        undecided.take(offset, log.records[offset], log.appended_at_ms[offset])
        if undecided.complete or (undecided.fold and not all_):
            break
    return undecided


def lowest_fold(log: Log, place: PlaceOf) -> Lowest:
    """The lowest position behind which all is known that is left, and the fold there."""
    undecided = decided(log, all_=True, place=place)
    if undecided.fold and undecided.complete:
        begins = undecided.unproven[-1].offset + 1 if undecided.unproven else log.start
        return Lowest(log.start - 1, undecided.fold, undecided.last, begins)
    lowest = log.first_known()
    return Lowest(lowest, log.fold_at(lowest, place), None, lowest + 1)


def last_for(world: World, origin: int, target: int) -> Copied | None:
    """The last origin of a partition that concerns another; None: what is left does not tell."""
    fold = world.known_fold_at(origin, world.logs[origin].end - 1)
    return fold.chain.last_for(target) if fold else None
