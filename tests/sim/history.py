"""The history database of the simulator, and what writes it.

A batch of rows is written as requests that land one by one, in any order; the progress follows when
all of them have. What a dead materializer has sent may land later.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cecochat.domain.ids import partition_in
from cecochat.domain.place import NOWHERE, Place
from cecochat.domain.records import Origin
from cecochat.v1.events_pb2 import Event
from tests.sim.oracle import Row

if TYPE_CHECKING:
    from tests.sim.world import World


class History:
    """The history database. What has landed is durable; writing it again changes nothing."""

    def __init__(self) -> None:
        self.rows: dict[Row, Event] = {}
        self.progress: dict[int, Place] = {}  # partition -> up to where all origins are here
        self.up_to: dict[int, int] = {}  # partition -> the highest id of these
        self.unfit: frozenset[int] = frozenset()  # numbers of messages that it does not take
        self.holes: set[Row] = set()  # what is missing in it

    def write(self, event: Event) -> None:
        """Store a message."""
        self.rows[row_of(event)] = event

    def refuses(self, event: Event) -> bool:
        """Whether it never takes that row, for what it is."""
        return int(event.client_message_id) in self.unfit

    def reached(self, partition: int, place: Place, last_id: int) -> None:
        """All origins of a partition up to there are here."""
        self.progress[partition] = max(place, self.progress.get(partition, NOWHERE))
        self.up_to[partition] = max(last_id, self.up_to.get(partition, 0))

    def shows(self, row: Row) -> bool:
        """Whether all rows of its partition with lower ids are here, too."""
        return row.id <= self.up_to.get(partition_in(row.id), 0)

    def chats(self, user: str, after: str) -> list[str]:
        """The next of the chats that the user has messages in, by chat id."""
        known = self.rows.keys() | self.holes
        found = {row.chat for row in known if _may_read(user, row) and self.shows(row)}
        return sorted(chat for chat in found if chat > after)[:1]

    def page(self, user: str, chat: str, after: int, limit: int) -> tuple[list[Event], bool]:
        """The next messages of a chat that the user may read, above an id, in order, those that are
        missing without their content; and whether there are more.
        """
        rows = [
            row
            for row in sorted(self.rows.keys() | self.holes)
            if row.chat == chat and row.id > after and _may_read(user, row) and self.shows(row)
        ]
        return [self.rows.get(row, _missing(row)) for row in rows[:limit]], len(rows) > limit


def row_of(event: Event) -> Row:
    """An event as the oracle sees it."""
    return Row(
        event.id,
        event.user_id,
        int(event.client_message_id),
        event.chat_id,
        tuple(event.recipient_ids),
    )


def _missing(row: Row) -> Event:
    """All that is known of it: it has no content."""
    return Event(id=row.id, user_id=row.sender, client_message_id=str(row.number), chat_id=row.chat)


def _may_read(user: str, row: Row) -> bool:
    return user == row.sender or user in row.recipients


class Materializer:
    """Writes a partition's valid origins to the history, from its committed offset on."""

    def __init__(self, world: World, partition: int) -> None:
        self.world = world
        self.partition = partition
        self.committed = NOWHERE  # up to where it has dealt with all
        self.strays: list[Event] = []  # sent by one that died
        self.writing: list[Event] = []
        self.restart()

    def restart(self) -> None:
        """Start from what is committed, or from less where the history lacks it."""
        self.strays += self.writing
        self.writing = []
        self.durable = self.start(self.world.history.progress.get(self.partition, NOWHERE))
        self.fold = self.world.fold_at(self.partition, self.durable)
        self.place = Place(self.fold.clock_ms, self.durable)  # up to where all is durable
        self.cursor = self.durable + 1
        self.last = self.world.logs[self.partition].last(self.durable)  # record that it has read
        self.last_id = 0

    def start(self, held: Place) -> int:
        """Where to go on, if the history holds all up to there: from the beginning, if that is of
        an end that the log has lost.
        """
        log = self.world.logs[self.partition]
        return min(self.committed.offset, held.offset) if log.holds(held) else log.first_known()

    def step(self, records: int) -> bool:
        """Read a batch and begin to write it; one at a time."""
        log = self.world.logs[self.partition]
        if self.writing:
            return False
        if log.differs(self.cursor, self.last):
            self.restart()
        if self.cursor >= log.end:
            return False
        end = min(self.cursor + records, log.end)
        for offset in range(self.cursor, end):
            self.last = record = log.records[offset]
            counts = self.fold.step(offset, record, log.appended_at_ms[offset])
            if counts and isinstance(record, Origin):
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
        if self.world.history.refuses(event):
            self.bury(event)
        else:
            self.world.history.write(event)
        self._note_written()
        return True

    def bury(self, event: Event) -> None:
        """Go on without a row that is refused."""
        self.world.history.holes.add(row_of(event))

    def land_stray(self, index: int) -> bool:
        """A row that a dead one has sent is durable after all."""
        if index >= len(self.strays):
            return False
        event = self.strays.pop(index)
        if not self.world.history.refuses(event):
            self.world.history.write(event)
        return True

    def _note_written(self) -> None:
        if not self.writing:
            self.durable = self.cursor - 1
            self.place = Place(self.fold.clock_ms, self.durable)
            self.world.history.reached(self.partition, self.place, self.last_id)


class Audit:
    """Compares a partition of the log with the history, as far as it may judge."""

    def __init__(self, world: World, partition: int) -> None:
        self.world = world
        self.partition = partition
        self.fold = world.fold_at(partition, -1)
        self.cursor = 0
        self.last = world.logs[partition].last(-1)  # record that it has read
        self.alarms: list[Row] = []  # what it would name; the history never loses anything here

    def whole(self) -> int:
        """Up to where materialize says that all is there: its committed offset, which it takes back
        at once where that is of an end that the log has lost.
        """
        place = self.world.materializers[self.partition].committed
        return place.offset if self.world.logs[self.partition].holds(place) else -1

    def step(self) -> None:
        """Compare what has come."""
        log = self.world.logs[self.partition]
        if log.differs(self.cursor, self.last):
            position = log.first_known()
            self.fold, self.cursor = log.fold_at(position), position + 1
            self.last = log.last(position)
        for offset in range(self.cursor, self.whole() + 1):
            self.last = record = log.records[offset]
            counts = self.fold.step(offset, record, log.appended_at_ms[offset])
            if counts and isinstance(record, Origin):
                row = row_of(Event.FromString(record.event))
                if row not in self.world.history.rows and row not in self.world.history.holes:
                    self.alarms.append(row)
            self.cursor = offset + 1
