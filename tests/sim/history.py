"""The history database of the simulator, and what writes it.

A batch of rows is written as requests that land one by one, in any order; the progress follows when
all of them have. What a dead materializer has sent may land later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cecochat.domain.ids import partition_in
from cecochat.domain.records import Origin
from cecochat.v1.events_pb2 import Event
from tests.sim.oracle import Row

if TYPE_CHECKING:
    from tests.sim.world import World


class History:
    """The history database. What has landed is durable; writing it again changes nothing."""

    def __init__(self) -> None:
        self.rows: dict[Row, Event] = {}
        self.progress: dict[int, int] = {}  # partition -> offset up to which all origins are here
        self.up_to: dict[int, int] = {}  # partition -> the highest id of these

    def write(self, event: Event) -> None:
        """Store a message."""
        self.rows[row_of(event)] = event

    def reached(self, partition: int, offset: int, last_id: int) -> None:
        """All origins of a partition up to `offset` are here."""
        self.progress[partition] = max(offset, self.progress.get(partition, -1))
        self.up_to[partition] = max(last_id, self.up_to.get(partition, 0))

    def shows(self, row: Row) -> bool:
        """Whether all rows of its partition with lower ids are here, too."""
        return row.id <= self.up_to.get(partition_in(row.id), 0)

    def chats(self, user: str, after: str) -> list[str]:
        """The next of the chats that the user has messages in, by chat id."""
        found = {row.chat for row in self.rows if _may_read(user, row) and self.shows(row)}
        return sorted(chat for chat in found if chat > after)[:1]

    def page(self, user: str, chat: str, after: int, limit: int) -> tuple[list[Event], bool]:
        """The next messages of a chat that the user may read, above an id, in order; and whether
        there are more.
        """
        rows = [
            row
            for row in sorted(self.rows)
            if row.chat == chat and row.id > after and _may_read(user, row) and self.shows(row)
        ]
        return [self.rows[row] for row in rows[:limit]], len(rows) > limit


def row_of(event: Event) -> Row:
    """An event as the oracle sees it."""
    return Row(
        event.id,
        event.user_id,
        int(event.client_message_id),
        event.chat_id,
        tuple(event.recipient_ids),
    )


def _may_read(user: str, row: Row) -> bool:
    return user == row.sender or user in row.recipients


class Materializer:
    """Writes a partition's valid origins to the history, from its committed offset on."""

    def __init__(self, world: World, partition: int) -> None:
        self.world = world
        self.partition = partition
        self.committed = -1  # the last offset dealt with
        self.strays: list[Event] = []  # sent by one that died
        self.writing: list[Event] = []
        self.restart()

    def restart(self) -> None:
        """Start from what is committed, or from less where the history lacks it."""
        self.strays += self.writing
        self.writing = []
        held = self.world.history.progress.get(self.partition, -1)
        self.durable = min(self.committed, held)
        self.fold = self.world.fold_at(self.partition, self.durable)
        self.cursor = self.durable + 1
        self.last_id = 0

    def step(self, records: int) -> bool:
        """Read a batch and begin to write it; one at a time."""
        log = self.world.logs[self.partition]
        if self.writing or self.cursor >= log.end:
            return False
        end = min(self.cursor + records, log.end)
        for offset in range(self.cursor, end):
            record = log.records[offset]
            if self.fold.step(offset, record) and isinstance(record, Origin):
                self.writing.append(Event.FromString(record.event))
        self.cursor = end
        self._note_written()
        return True

    def land(self, index: int) -> bool:
        """A row is durable."""
        if index >= len(self.writing):
            return False
        event = self.writing.pop(index)
        self.last_id = max(self.last_id, event.id)
        self.world.history.write(event)
        self._note_written()
        return True

    def land_stray(self, index: int) -> bool:
        """A row that a dead one has sent is durable after all."""
        if index >= len(self.strays):
            return False
        self.world.history.write(self.strays.pop(index))
        return True

    def _note_written(self) -> None:
        if not self.writing:
            self.durable = self.cursor - 1
            self.world.history.reached(self.partition, self.durable, self.last_id)


class Audit:
    """Compares a partition of the log with the history, as far as it may judge."""

    def __init__(self, world: World, partition: int) -> None:
        self.world = world
        self.partition = partition
        self.fold = world.fold_at(partition, -1)
        self.cursor = 0
        self.alarms: list[Row] = []  # what it would name as missing; nothing is ever lost here

    def whole(self) -> int:
        """Up to where materialize says that all is there: its committed offset."""
        return self.world.materializers[self.partition].committed

    def step(self) -> None:
        """Compare what has come."""
        log = self.world.logs[self.partition]
        for offset in range(self.cursor, self.whole() + 1):
            record = log.records[offset]
            if self.fold.step(offset, record) and isinstance(record, Origin):
                row = row_of(Event.FromString(record.event))
                if row not in self.world.history.rows:
                    self.alarms.append(row)
            self.cursor = offset + 1
