"""Logs that begin higher: by retention, as they should, and by somebody who cuts them from the
front, as Kafka's DeleteRecords does, whatever is read or forwarded.

Cuts are drawn from a stream of their own, so that the other faults of a seed stay as they are.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from cecochat.domain.log.fold import Fold
from cecochat.domain.log.records import Copy, Origin, Takeover
from cecochat.domain.log.reliable import ReliableStates
from cecochat.v1.events_pb2 import Event
from tests.sim.belonging import Belonging
from tests.sim.evidence import Change, Row
from tests.sim.history import row_of
from tests.sim.moments import Moments
from tests.sim.recount import change_in
from tests.sim.shape import GROUP, Shape
from tests.sim.state import State

if TYPE_CHECKING:
    from tests.sim.spoiling import Action
    from tests.sim.world import World


class Cut(NamedTuple):
    """The records of a partition from `first` to below `start` were dropped."""

    partition: int
    first: int
    start: int


class Cutting(State):
    """The part of the world that drops the beginnings of logs."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.losses: Counter[int] = Counter()  # how often the log of a partition lost its end

    def do_trim(self, partition: int, back: int) -> bool:
        """Retention drops what lies behind the committed offsets, and behind what a state record
        below them tells.
        """
        log = self.logs[partition]
        noted = (self.watermark[partition], self.materializers[partition].committed)
        safe = min(place.offset if log.holds(place) else -1 for place in noted)
        known = [state.as_of for offset, state in log.reliable() if offset <= safe]
        return self._begin_at(partition, max(known) + 1 - back) if known else False

    def do_release(self, node: int, partition: int) -> bool:
        """Retention drops what an owner releases; and it looks whether readers wait
        for a state record.
        """
        server = self.running(node, partition)
        if not server or not server.owner.ready:
            return False
        materialized = self.materializers[partition].committed
        if server.is_lost or not server.log.holds(materialized):
            return False
        released = server.owner.released(materialized.offset + 1)
        server.let_go = released or server.let_go
        looked = server.look_at_beginning()
        return looked or (released is not None and self._begin_at(partition, released))

    def do_cut_log(self, partition: int, start: int) -> bool:
        """Somebody drops the beginning of a log, up to its end at most. Not in a run where a log
        has lost its end or a copy could not be read: see ADR 0091, "Not covered"; and not the home
        of the group.
        """
        log = self.logs[partition]
        if self.losses or any(each.meant or each.gone for each in self.logs):
            return False
        if self.founded and partition == self.place(GROUP):
            return False
        cut = Cut(partition, log.start, min(start, log.end))
        if not self._begin_at(partition, cut.start):
            return False
        self.cuts.append(cut)
        return True

    def _begin_at(self, partition: int, start: int) -> bool:
        log = self.logs[partition]
        if start <= log.start or self._is_wanted(partition, start):
            return False
        log.start = start
        for client in self.clients.values():
            client.record.gap_expected |= self.places[client.user] == partition
        return True

    def _is_wanted(self, partition: int, start: int) -> bool:
        """Whether a copy of what the group's home has below that cannot be read, and has not come
        again (ADR 0222, "Not covered").
        """
        return (
            self.founded
            and partition == self.place(GROUP)
            and any(
                copy.origin.offset < start and log.lacks(copy)
                for log in self.logs
                for copy in log.meant.values()
                if isinstance(copy, Copy) and copy.origin_partition == partition
            )
        )

    # -- what is judged

    def valid(self) -> dict[Row, tuple[int, int]]:
        """What the whole logs say, read from their beginnings, and where: (partition, offset)."""
        valid = {}
        for partition, log in enumerate(self.logs):
            fold = Fold()
            for offset, record in enumerate(log.records):
                counts = fold.step(offset, record, log.appended_at_ms[offset])
                if counts and isinstance(record, Origin):
                    valid[row_of(Event.FromString(record.event))] = partition, offset
        return valid

    def belonging(self) -> Belonging:
        """Who was in the group when."""
        changes = {}
        for row, (partition, offset) in self.valid().items():
            record = self.logs[partition].records[offset]
            if row.chat == GROUP and isinstance(record, Origin):
                changes[row.id] = record.parsed.membership
        return Belonging(changes)

    def changes_in(self, valid: dict[Row, tuple[int, int]]) -> list[Change]:
        """The changes of messages among what is valid."""
        records = (self.logs[partition].records[offset] for partition, offset in valid.values())
        found = (change_in(each.parsed) for each in records if isinstance(each, Origin))
        return [each for each in found if each]

    def gone(self) -> set[Row]:
        """What was cut off, and what a cut has left of which nothing tells that it counts. All else
        has to be there.
        """
        spans = self.cuts + [self._unproven(cut) for cut in self.cuts]
        return {row for row, at in self.valid().items() if _in_one(spans, *at)}

    def _unproven(self, cut: Cut) -> Cut:
        """What stands behind a cut and before a takeover, without a state record in between."""
        log, told = self.logs[cut.partition], ReliableStates(cut.start)
        for offset in range(cut.start, log.end):
            record = log.records[offset]
            if told.take(offset, record, log.appended_at_ms[offset]):
                break
            if isinstance(record, Takeover):
                return Cut(cut.partition, cut.start, offset)
        return Cut(cut.partition, cut.start, cut.start)

    def told_lost(self) -> set[tuple[int, str]]:
        """(message id, user): what operators were told that devices may lack, and rightly."""
        told = {
            (id_, user) for id_, at in self.told for user, home in self.places.items() if home == at
        }
        gone = self.gone()
        for row, (partition, offset) in self.valid().items():
            for said, session in self._uncopied(partition):
                if _in_one([said], partition, offset) and (row in gone or session in self.afresh):
                    told |= {(row.id, user) for user in self.belonging().recipients(row)}
        return told

    def _uncopied(self, partition: int) -> Iterator[tuple[Cut, str]]:
        """What takeovers say was dropped before it was copied, and in which session; operators see
        that in the history, unless the takeover was cut off, too.
        """
        kept = [
            (hole.first_offset, hole.last_offset + 1)
            for hole in self.history.told.values()
            if hole.partition == partition and hole.reason == "uncopied"
        ]
        for offset, record in enumerate(self.logs[partition].records):
            if isinstance(record, Takeover):
                first, below = record.uncopied[0], min(record.uncopied[1], offset)
                if (first, below) in kept or _in_one(self.cuts, partition, offset):
                    yield Cut(partition, first, below), record.session


def _in_one(spans: list[Cut], partition: int, offset: int) -> bool:
    return any(each.partition == partition and each.first <= offset < each.start for each in spans)


class Cuts:
    """When to cut what: with the probability `cut_log` after each step; without weights, in one run
    of eight, once or a few times.
    """

    def __init__(self, seed: int, steps: int, weights: Mapping[str, float] | None) -> None:
        self._rng = random.Random(f"{seed}-cuts")
        self._moments = Moments(self._rng, "cut_log", [1, 1, 2, 4], steps, weights)

    def draw(self, world: World) -> Iterator[Action]:
        """What is done before the next step."""
        if self._moments.come():
            partition = self._rng.randrange(world.shape.partitions)
            log = world.logs[partition]
            if log.start < log.end:
                yield ("cut_log", partition, self._rng.randint(log.start + 1, log.end))
