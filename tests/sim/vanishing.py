"""Records that vanish from the middle of a log after they were read back: a row that is deleted, a
damaged disk.

They are drawn from a stream of their own, so that the other faults of a seed stay as they are.

Not covered, as in ADR 0205: a log that somebody cuts or that loses its end, too; the first and the
last record of a log, which show as a cut and as a lost end; an origin that is not copied yet, or
where copies from its partition have vanished as well; a takeover with origins of an earlier owner
behind it; the only state record that a trimmed log has left; and what vanishes just before an
append that fails, or that nobody can read, and what was in flight behind that; and what happened in
a group (ADR 0222), in its home, before the history has it and its sender has an answer.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from typing_extensions import override

from cecochat.domain.log.fold import Fold
from cecochat.domain.log.records import Copy, Origin, State, Takeover
from tests.sim.evidence import Row
from tests.sim.log import Log
from tests.sim.losing import Losing
from tests.sim.moments import Moments
from tests.sim.network import Network
from tests.sim.spoiling import Spoiling

if TYPE_CHECKING:
    from tests.sim.spoiling import Action
    from tests.sim.world import World


class Vanishing(Losing, Network, Spoiling):
    """The part of the world that takes records out of the middle of logs."""

    def do_vanish(self, partition: int, offset: int) -> bool:
        """A record vanishes that the owner at work has read."""
        log = self.logs[partition]
        if self.cuts or self.losses or not log.start < offset < log.end - 1:
            return False
        if log.is_gone(offset) or not self._is_read(partition, offset):
            return False
        if not self._may_vanish(partition, offset) or self._is_before_failure(log, offset):
            return False
        log.gone.add(offset)
        if self.is_ambiguous(partition):
            log.gone.discard(offset)
            return False
        record = log.records[offset]
        if isinstance(record, Origin):
            self.lost_changes |= record.parsed.HasField("membership")
        for client in self.clients.values():
            client.record.gap_expected |= self.places[client.user] == partition
        return True

    def is_ambiguous(self, partition: int) -> bool:
        """Whether what is left would show an origin that does not count as one that does."""
        log, whole, left = self.logs[partition], Fold(), Fold()
        for offset, record in enumerate(log.records):
            counts = whole.step(offset, record, log.appended_at_ms[offset])
            if log.is_gone(offset):
                continue
            shown = left.step(offset, record, log.appended_at_ms[offset])
            if isinstance(record, Origin) and shown and not counts:
                return True
        return False

    @override
    def do_fail(self, name: str, target: int, landed: bool) -> bool:
        """Not where that would leave what is in flight behind a record that has vanished."""
        if not landed and target < len(self.logs) and self._is_behind_gap(target):
            return False
        return super().do_fail(name, target, landed)

    @override
    def do_spoil(self, name: str) -> bool:
        """Not behind a record that has vanished either: to its owner, that is a failed append."""
        producer = self.producers.get(name)
        if producer and producer.server and self._is_behind_gap(producer.server.partition):
            return False
        return super().do_spoil(name)

    def _is_behind_gap(self, partition: int) -> bool:
        log, fold, last = self.logs[partition], Fold(), -1
        for offset, record in enumerate(log.records if log.gone else ()):
            if fold.step(offset, record, log.appended_at_ms[offset]) and isinstance(record, Origin):
                last = offset
        return any(offset > last for offset in log.gone)

    def _is_before_failure(self, log: Log, offset: int) -> bool:
        """Whether the next send behind that cannot be read, or shows that one before it failed."""
        fold = Fold()
        for at, record in enumerate(log.records):
            counts = fold.step(at, record, log.appended_at_ms[at])
            if at <= offset or log.is_gone(at):
                continue
            if isinstance(log.meant.get(at), Origin):
                return True
            if isinstance(record, Origin) and fold.is_fenced_in(record):
                return not counts
        return False

    def _is_read(self, partition: int, offset: int) -> bool:
        return any(
            server.owner.ready and server.owner.cursor > offset and not server.is_lost
            for (_, number), server in self.servers.items()
            if number == partition
        )

    def _may_vanish(self, partition: int, offset: int) -> bool:
        match record := self.logs[partition].records[offset]:
            case Origin():
                if record.group_event and not self._is_settled(record):
                    return False
                return self._is_copied(partition, offset, record)
            case Copy():
                return not any(self._gone(record.origin_partition, Origin))
            case Takeover():
                return not self._is_outrun(partition, offset)
            case State():
                log = self.logs[partition]
                return not log.start or len(log.reliable()) > 1
        return False

    def _is_settled(self, origin: Origin) -> bool:
        """Whether the history has what happened in a group, and nobody will send it again."""
        if not any(row.id == origin.id for row in self.history.rows):
            return False
        id_ = origin.client_message_id
        frames = (
            frame
            for client in self.clients.values()
            for connection in client.connections
            for frame in connection.to_server
        )
        under_way = {send.client_message_id for frame in frames for send in frame.sends}
        for client in self.clients.values():
            under_way |= client.device.outbox.keys()
        for server in self.servers.values():
            for line in server.owner.asking._lines.values():
                under_way |= {client_message_id for _, client_message_id in line.asks}
        return id_ not in under_way

    def _gone(self, partition: int, kind: type[Origin | Copy]) -> Iterator[Origin | Copy]:
        log = self.logs[partition]
        for offset in log.gone:
            if isinstance(record := log.records[offset], kind):
                yield record

    def _is_copied(self, partition: int, offset: int, origin: Origin) -> bool:
        for target in range(len(self.logs)):
            for copy in self._gone(target, Copy):
                if isinstance(copy, Copy) and copy.origin_partition == partition:
                    return False
        place = self.logs[partition].place(offset)
        at_home = {partition} if origin.serves_home else set()
        targets = {self.places[user] for user in origin.recipient_ids} - at_home
        targets |= set(origin.targets)
        return all(
            not place.lies_above(_all_of(self.logs[target]).high_of(partition))
            for target in targets
        )

    def _is_outrun(self, partition: int, offset: int) -> bool:
        """Whether an origin of an earlier owner is behind a takeover, or may still land there."""
        behind = self.logs[partition].records[offset:]
        if any(isinstance(each, Origin) and each.epoch.offset < offset for each in behind):
            return True
        others = [each for each in self.producers.values() if each.requests.get(partition)]
        return bool(others) or len([key for key in self.servers if key[1] == partition]) > 1

    def vanished(self, valid: dict[Row, tuple[int, int]]) -> set[Row]:
        """What has vanished of all that is valid."""
        return {row for row, (partition, at) in valid.items() if self.logs[partition].is_gone(at)}

    def brought_again(self) -> dict[str, set[int]]:
        """Partition's users -> ids of copies that may come again, since a copy before has
        vanished, or that one itself.
        """
        again: dict[str, set[int]] = {user: set() for user in self.places}
        for partition, log in enumerate(self.logs):
            copies = [each for each in log.records if isinstance(each, Copy)]
            for offset in log.gone:
                if isinstance(lost := log.records[offset], Copy):
                    ids = {
                        each.id
                        for each in copies
                        if each.origin_partition == lost.origin_partition
                        and not lost.origin.lies_above(each.origin)
                    }
                    for user in (user for user, home in self.places.items() if home == partition):
                        again[user] |= ids
        return again


def _all_of(log: Log) -> Fold:
    fold = Fold()
    for offset, record in enumerate(log.records):
        fold.step(offset, record, log.appended_at_ms[offset])
    return fold


class Vanishings:
    """When what vanishes: with the probability `vanish` after each step; without weights, in one
    run of eight, once or a few times.
    """

    def __init__(self, seed: int, steps: int, weights: Mapping[str, float] | None) -> None:
        self._rng = random.Random(f"{seed}-vanishings")
        self._moments = Moments(self._rng, "vanish", [1, 1, 3, 6], steps, weights)

    def draw(self, world: World) -> Iterator[Action]:
        """What is done before the next step."""
        if self._moments.come():
            partition = self._rng.randrange(world.shape.partitions)
            log = world.logs[partition]
            first = self._rng.randint(log.start, max(log.start, log.end - 1))
            for offset in range(first, first + self._rng.choice([1, 1, 1, 2, 4])):
                yield ("vanish", partition, offset)
