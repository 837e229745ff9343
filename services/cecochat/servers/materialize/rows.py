"""Turns a batch of records of the log into rows of the history."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from cecochat.domain.changes.about import about
from cecochat.domain.changes.mentions import mentioned
from cecochat.domain.changes.texts import blank
from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.errors import Undecodable
from cecochat.domain.groups.changes import standings
from cecochat.domain.log.dead_letters import DeadLetter
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.gaps import Gap
from cecochat.domain.log.ids import ChatId, UserId, is_group
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Origin, Takeover
from cecochat.ports.backplane import Record
from cecochat.ports.history import (
    Hole,
    MarkRow,
    MembershipRow,
    MessageRow,
    PersonRow,
    Row,
)
from cecochat.ports.reading import decode_once
from cecochat.runtime.clock import now_ms
from cecochat.servers.materialize.trims import Hidden, uncopied
from cecochat.v1.events_pb2 import Event

SETTLED_AFTER_MS = 30_000
"""A record older than this may have been read before it was damaged; a younger one was never
readable.
"""


@dataclass(slots=True)
class Rows:
    """The rows of valid origins, and what else has to be done for the records of the batch."""

    log_id: str
    partition: int
    messages: list[MessageRow] = field(default_factory=list)
    marks: list[MarkRow] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)  # what the log does not show
    holes: list[Hole] = field(default_factory=list)
    lost: list[Place] = field(default_factory=list)  # in ends that the log has lost
    letters: list[DeadLetter] = field(default_factory=list)
    traced: list[tuple[int, Origin]] = field(default_factory=list)  # with their offsets
    skipped: int = 0  # events of kinds that this version does not know
    clock_ms: int = 0  # the log's clock after the batch
    read_ns: int = field(default_factory=time.time_ns)
    _message_records: list[Record] = field(default_factory=list)  # of each message
    _mark_records: list[Record] = field(default_factory=list)

    def add(self, record: Record, origin: Origin, partitions: int) -> None:
        """Add the row of a valid origin. `partitions`: how many there are."""
        event = origin.parsed
        chat_id, user_id = ChatId(event.chat_id), UserId(event.user_id)
        changed, membership = about(event), _membership(event, partitions)
        if changed or membership or event.HasField("message"):
            key = (event.id, chat_id, user_id, origin.recipient_ids)
            about_it = (changed, membership, mentioned(event))
            self.messages.append(MessageRow(*key, origin.event, *about_it))
            self._message_records.append(record)
        elif event.HasField("receipt"):
            receipt = event.receipt
            self.marks.append(
                MarkRow(chat_id, user_id, receipt.delivered_up_to, receipt.read_up_to)
            )
            self._mark_records.append(record)
        elif event.HasField("settings"):
            self.marks.append(MarkRow(chat_id, user_id, 0, 0, _settings(event)))
            self._mark_records.append(record)
        else:
            self.skipped += 1
        if origin.trace:
            self.traced.append((record.offset, origin))

    def placed(self) -> Iterator[tuple[int, Row]]:
        """Yield each row with the offset of its record: first the messages, then the marks."""
        rows: list[tuple[Sequence[Row], list[Record]]] = [
            (self.messages, self._message_records),
            (self.marks, self._mark_records),
        ]
        for of_kind, records in rows:
            for row, record in zip(of_kind, records, strict=True):
                yield record.offset, row

    def unreadable(self, record: Record, why: Undecodable) -> None:
        """Add the letter of a record that nobody can read."""
        self.letters.append(
            DeadLetter(
                "undecodable", self.partition, record.offset, str(why), record.key, record.value
            )
        )

    def takeover(self, record: Record, takeover: Takeover) -> None:
        """Add what a new owner has found to be dropped or lost."""
        offset, appended_at_ms = record.offset, record.appended_at_ms
        if hole := uncopied(self.log_id, self.partition, offset, takeover, appended_at_ms):
            self.holes.append(hole)
        if takeover.lost.offset >= 0:
            self.lost.append(takeover.lost)

    def refuse(self, row: Row, why: str) -> DeadLetter:
        """Remove a row that the database refuses, and return its letter. If it is a message, a hole
        is added.
        """
        record = self._take_out(row)
        letter = DeadLetter("refused", self.partition, record.offset, why, record.key, record.value)
        if isinstance(row, MessageRow):
            self.holes.append(self._hole(row, record, why))
            letter = letter._replace(message_id=row.message_id)
        return letter

    def _hole(self, row: MessageRow, record: Record, why: str) -> Hole:
        decoded = decode_once(record)
        client_message_id = decoded.client_message_id if isinstance(decoded, Origin) else ""
        span = (record.offset, record.offset, row.message_id, row.message_id)
        return Hole(
            self.log_id,
            self.partition,
            *span,
            row.chat_id,
            "refused",
            why,
            now_ms(),
            user_id=row.user_id,
            client_message_id=client_message_id,
        )

    def _take_out(self, row: Row) -> Record:
        if isinstance(row, MessageRow):
            at = self.messages.index(row)
            del self.messages[at]
            return self._message_records.pop(at)
        at = self.marks.index(row)
        del self.marks[at]
        return self._mark_records.pop(at)


def blank_row(row: MessageRow) -> MessageRow | None:
    """Return the row of a message or an edit that says nothing any more; None if it says nothing
    now.
    """
    event = Event.FromString(row.event)
    if not blank(event):
        return None
    return row._replace(event=event.SerializeToString(), mentioned=())


def _settings(event: Event) -> bytes:
    """Return the `MarkRow.settings` of an event that sets them."""
    return event.id.to_bytes(8, "big") + event.settings.SerializeToString()


def _membership(event: Event, partitions: int) -> MembershipRow | None:
    """Return what an event changes in who belongs to its group, or in the group's options."""
    if not (event.HasField("membership") and is_group(event.chat_id)):
        return None
    change = event.membership
    people = tuple(
        PersonRow(user_id, partition_of(user_id, partitions), standing)
        for user_id, standing in standings(event.id, change).items()
    )
    options = change.options.SerializeToString() if change.HasField("options") else None
    return MembershipRow(people, options)


def rows_of(
    log_id: str, partition: int, partitions: int, fold: Fold, records: Sequence[Record]
) -> Rows:
    """Fold the records of a partition, in order, into rows. `partitions`: how many there are."""
    rows = Rows(log_id, partition)
    hidden = Hidden(log_id, partition, now_ms() - SETTLED_AFTER_MS)
    for record in records:
        decoded = decode_once(record)
        counts = fold.step(record.offset, decoded, record.appended_at_ms)
        for gap in fold.gaps.found:
            hidden.add(gap)
            rows.gaps.append(gap)
        if isinstance(decoded, Undecodable):
            rows.unreadable(record, decoded)
        elif counts and isinstance(decoded, Origin):
            hidden.valid(decoded.id)
            rows.add(record, decoded, partitions)
        elif isinstance(decoded, Takeover):
            rows.takeover(record, decoded)
    hidden.end()
    rows.holes += hidden.holes
    rows.clock_ms = fold.clock_ms
    return rows
