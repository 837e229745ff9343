"""Logs that lose their end, and what has to be told of that: whatever was acknowledged and is in no
history, where anything outside of the log shows that it has lost something.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Copy, Origin, Takeover
from tests.sim.cutting import Cutting
from tests.sim.evidence import Row
from tests.sim.nodes import Nodes
from tests.sim.recount import change_in
from tests.sim.shape import GROUP, Shape

BACK_MS = 45_000  # until a log that lost its end is back: more than clocks are apart


class Losing(Cutting, Nodes):
    """The part of the world that takes the ends of logs."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.lost: set[int] = set()  # ids of what a log has lost
        self.lost_changes = False  # of who belongs to the group
        self.changed: set[int] = set()  # ids of messages of which changes were lost
        self.lost_copies: set[tuple[str, int]] = set()  # (recipient, id) of what was lost as copy
        self.taken: set[Row] = set()  # what is to be in the history, or told
        self._by_watermark: dict[int, set[Row]] = {}
        """Partition -> the same, where it is the watermark alone that shows it."""
        self._noted: dict[int, list[tuple[int, set[Row]]]] = defaultdict(list)
        """Partition -> the same, where a takeover at that offset tells it."""
        self._ends: dict[int, int] = {}  # partition -> below which offset the last loss left it

    def do_lose(self, partition: int, records: int) -> bool:
        """The log of a partition loses its end. It comes back later than clocks are apart. Not
        while a takeover is on its way there, which cannot tell of it (ADR 0093, "Not covered").
        """
        if self.cuts or any(each.gone for each in self.logs) or self._is_claimed(partition):
            return False
        valid = self.valid()
        lost = self.logs[partition].lose(records)
        self.do_tick(BACK_MS if lost else 0)
        end = self.logs[partition].end
        gone = {row for row, at in valid.items() if _is_in(at, partition, end)}
        self.lost |= {row.id for row in gone}  # one that does not count gives its id to another
        for record in lost:
            if isinstance(record, Origin):
                self.lost_changes |= record.parsed.HasField("membership")
                change = change_in(record.parsed)
                self.changed |= {change.message_id} if change else set()
            if isinstance(record, Copy):
                users = self.users_in(partition) if record.group_event else record.recipient_ids
                self.lost_copies |= {(user, record.id) for user in users}
        for client in self.clients.values():
            if lost and self.places[client.user] == partition:
                client.record.gap_expected = True
                client.record.forgets = True
            client.record.gap_expected |= partition == self.place(GROUP)  # who belongs may be lost
        if lost:
            self.losses[partition] += 1
            self._ends[partition] = end
            self._expect(gone, partition)
        return bool(lost)

    def _is_claimed(self, partition: int) -> bool:
        under_way = (each.requests.get(partition, ()) for each in self.producers.values())
        return any(isinstance(record, Takeover) for requests in under_way for record in requests)

    def _expect(self, rows: set[Row], partition: int) -> None:
        """That all of it is told, by what shows the loss."""
        log = self.logs[partition]
        progress = self.history.progress.get(partition, NOWHERE)
        before = self._by_watermark.pop(partition, set()) | self._told_no_more(partition)
        if not (log.holds(progress) and log.holds(self.materializers[partition].committed)):
            self.taken |= before | rows
        elif not log.holds(self.watermark[partition]):
            self._by_watermark[partition] = before | rows

    def _told_no_more(self, partition: int) -> set[Row]:
        """What takeovers told that are lost now, too."""
        noted, end = self._noted.pop(partition, []), self.logs[partition].end
        self._noted[partition] = [each for each in noted if each[0] < end]
        return set().union(*(rows for offset, rows in noted if offset >= end))

    # -- the watermark, which an owner overwrites

    def do_land_commit(self, index: int) -> bool:
        """A commit lands, in whatever order."""
        if index >= len(self.commits):
            return False
        partition, place = self.commits.pop(index)
        self._note(partition, place)
        return True

    def do_forget(self, partition: int) -> None:
        """The group's commit is lost."""
        self._note(partition, NOWHERE)

    def _note(self, partition: int, place: Place) -> None:
        """Where that hides a loss before any owner was there who could have seen it, nobody can
        tell.
        """
        log, rows = self.logs[partition], self._by_watermark.get(partition, set())
        if rows and log.holds(place) and not log.holds(self.watermark[partition]):
            since = range(self._ends.get(partition, 0), log.end)
            takeovers = [at for at in since if isinstance(log.records[at], Takeover)]
            if takeovers:
                self._noted[partition].append((takeovers[0], rows))
            del self._by_watermark[partition]
        self.watermark[partition] = place

    def to_be_told(self) -> set[Row]:
        """What is to be in the history or in a range that it tells, once somebody knew of it."""
        noted = (rows for each in self._noted.values() for _, rows in each)
        return self.taken.union(*self._by_watermark.values(), *noted)

    def told_too_often(self) -> list[str]:
        """Partitions of which more losses were told than there were."""
        told = Counter(
            hole.partition for hole in self.history.told.values() if hole.reason == "lost"
        )
        return [
            f"partition {partition}: {times} for {self.losses[partition]}"
            for partition, times in told.items()
            if times > self.losses[partition]
        ]


def _is_in(at: tuple[int, int], partition: int, end: int) -> bool:
    """Whether a place lies at that offset of a partition, or above."""
    return at[0] == partition and at[1] >= end
