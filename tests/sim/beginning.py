"""Reading a log from where it begins, when that is above what its readers have: what the asyncio
shells do with `CutLog`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cecochat.domain.log.chain import Here
from cecochat.domain.log.cut import CutLog
from cecochat.domain.log.records import Copied
from cecochat.ports.reading import Lowest
from tests.sim.log import Log

if TYPE_CHECKING:
    from tests.sim.world import World


def read_cut_log(log: Log, *, all_: bool = False, here: Here | None = None) -> CutLog:
    """What is left, read until it is known which origins count, or everything is, or to its end."""
    cut = CutLog(log.start, here)
    for offset in log.offsets(log.start, log.end):
        cut.take(offset, log.records[offset], log.appended_at_ms[offset])
        if cut.complete or (cut.fold and not all_):
            break
    return cut


def lowest_fold(log: Log, here: Here) -> Lowest:
    """The lowest position behind which all is known that is left, and the fold there."""
    cut = read_cut_log(log, all_=True, here=here)
    if cut.fold and cut.complete:
        begins = cut.unproven[-1].offset + 1 if cut.unproven else log.start
        return Lowest(log.start - 1, cut.fold, cut.last, begins)
    lowest = log.first_known()
    return Lowest(lowest, log.fold_at(lowest, here), None, lowest + 1)


def last_for(world: World, origin: int, target: int) -> Copied | None:
    """The last origin of a partition that concerns another; None: what is left does not tell."""
    fold = world.known_fold_at(origin, world.logs[origin].end - 1)
    return fold.chain.last_for(target) if fold else None
