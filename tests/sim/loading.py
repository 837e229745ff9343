"""What an owner begins with: the fold, and how far another one has forwarded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cecochat.domain.log.fold import Fold
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import ALL_BEFORE, NOTHING, Copied, Origin
from cecochat.domain.ownership.owner import Owner
from tests.sim import beginning

if TYPE_CHECKING:
    from tests.sim.server import Server


def load(server: Server) -> Owner:
    """An owner with what the log says of the partition."""
    log, world = server.log, server.world
    lowest = log.first_known()
    noted = server.forwarded()
    forwarded = lowest if noted is None else noted
    if forwarded < lowest:
        return _load_after_trim(server, forwarded)
    position = max(min(forwarded, log.end - 1 - world.shape.resend_records), lowest)
    fold = world.known_fold_at(server.partition, position, server.place)
    if fold is None:
        return _load_afresh(server)
    if noted is None:
        fold.unread = max(position, 0)  # copies may have gone with the end
    return _owner(server, fold, position, forwarded)


def _load_after_trim(server: Server, forwarded: int) -> Owner:
    lowest = beginning.lowest_fold(server.log, server.here)
    if lowest.last is None:
        return _load_afresh(server)
    owner = _owner(server, lowest.fold, lowest.position, max(forwarded, lowest.position))
    server.begins = lowest.begins
    return owner


def _load_afresh(server: Server) -> Owner:
    """Nothing that is left tells of the partition."""
    world, log = server.world, server.log
    world.do_tick(20)  # it looks at all partitions, while nobody answers each other there
    if not log.reliable():
        world.afresh.add(server.producer.name)
    others = {origin: had(server, origin) for origin in range(len(world.logs))}
    others[server.partition] = Copied(Place(0, log.end - 1), 0)
    groups = (
        entry
        for origin in set(others) - {server.partition}
        if (other := world.known_fold_at(origin, world.logs[origin].end - 1)) and other.groups
        for entry in other.groups.homes(world.shape.part_members)
    )
    fold = Fold.afresh(log.end - 1, others, server.here, groups)
    owner = _owner(server, fold, log.end - 1, log.end - 1)
    server.begins = ALL_BEFORE
    return owner


def had(server: Server, origin: int) -> Copied:
    """The last of another partition that was for this one."""
    last = beginning.last_for(server.world, origin, server.partition)
    if last and (last.id or last == NOTHING):
        return last
    log = server.world.logs[origin]
    last_id = 0
    for record in log.records[log.start :]:
        last_id = record.id if isinstance(record, Origin) else last_id
    clock_ms = max(log.appended_at_ms[log.start :], default=0)
    return Copied(Place(clock_ms, log.end - 1), last_id)


def _owner(server: Server, fold: Fold, position: int, forwarded: int) -> Owner:
    server.begins = position + 1
    return Owner(
        server.partition,
        server.producer.name,
        fold,
        cursor=position + 1,
        forwarded=forwarded,
        limits=server.world.shape.limits(),
        log_end=server.log.end,
    )


def uncopied(server: Server) -> tuple[int, int]:
    """What the log had dropped before it was copied, below where this owner began; both 0:
    nothing.
    """
    first, begins = server.world.watermark[server.partition].offset + 1, server.begins
    return (first, begins) if first < begins else (0, 0)
