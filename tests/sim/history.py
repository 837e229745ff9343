"""The history database of the simulator, and what writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cecochat.domain.records import Origin
from cecochat.v1.events_pb2 import Event
from tests.sim.oracle import Row

if TYPE_CHECKING:
    from tests.sim.world import World


class History:
    """The history database. Rows are durable at once; writing one again changes nothing."""

    def __init__(self) -> None:
        self.rows: dict[Row, Event] = {}

    def write(self, event: Event) -> None:
        """Store a message."""
        self.rows[row_of(event)] = event

    def chats(self, user: str) -> list[str]:
        """The chats that a user has messages in."""
        return sorted({row.chat for row in self.rows if _may_read(user, row)})

    def read(self, user: str, chat: str, after: int) -> list[Event]:
        """The messages of a chat that the user may read, above an id, in order."""
        rows = [r for r in self.rows if r.chat == chat and r.id > after and _may_read(user, r)]
        return [self.rows[row] for row in sorted(rows)]


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
        self.restart()

    def restart(self) -> None:
        """Start from what is committed."""
        self.fold = self.world.fold_at(self.partition, self.committed)
        self.cursor = self.committed + 1

    def step(self) -> bool:
        """One record."""
        log = self.world.logs[self.partition]
        if self.cursor >= log.end:
            return False
        record = log.records[self.cursor]
        if self.fold.step(self.cursor, record) and isinstance(record, Origin):
            self.world.history.write(Event.FromString(record.event))
        self.cursor += 1
        return True
