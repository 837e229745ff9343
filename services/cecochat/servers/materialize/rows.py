"""What a batch of records of the log comes to in the history."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from cecochat.domain.errors import Undecodable
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.letters import Letter
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Origin, Takeover
from cecochat.ports.backplane import Record
from cecochat.ports.history import Hole, MarkRow, MessageRow, Row
from cecochat.ports.reading import decode_once
from cecochat.runtime.clock import now_ms
from cecochat.servers.materialize.trims import uncopied


@dataclass(slots=True)
class Rows:
    """Rows of valid origins, and what else is to be done for their records."""

    log_id: str
    partition: int
    messages: list[MessageRow] = field(default_factory=list)
    marks: list[MarkRow] = field(default_factory=list)
    holes: list[Hole] = field(default_factory=list)
    lost: list[Place] = field(default_factory=list)  # in ends that the log has lost
    letters: list[Letter] = field(default_factory=list)
    traced: list[tuple[int, Origin]] = field(default_factory=list)  # with their offsets
    clock_ms: int = 0  # of the log, behind the batch
    read_ns: int = field(default_factory=time.time_ns)
    _message_records: list[Record] = field(default_factory=list)  # of each message
    _mark_records: list[Record] = field(default_factory=list)

    def add(self, record: Record, origin: Origin) -> None:
        """A valid origin."""
        event = origin.parsed
        if event.HasField("message"):
            self.messages.append(
                MessageRow(
                    event.id, event.chat_id, event.user_id, origin.recipient_ids, origin.event
                )
            )
            self._message_records.append(record)
        elif event.HasField("receipt"):
            receipt = event.receipt
            self.marks.append(
                MarkRow(event.chat_id, event.user_id, receipt.delivered_up_to, receipt.read_up_to)
            )
            self._mark_records.append(record)
        if origin.trace:
            self.traced.append((record.offset, origin))

    def unreadable(self, record: Record, why: Undecodable) -> None:
        """A record that nobody can read."""
        self.letters.append(
            Letter("undecodable", self.partition, record.offset, str(why), record.key, record.value)
        )

    def takeover(self, record: Record, takeover: Takeover) -> None:
        """A new owner, who may have found something dropped or lost."""
        at = (record.offset, takeover, record.appended_at_ms)
        if hole := uncopied(self.log_id, self.partition, *at):
            self.holes.append(hole)
        if takeover.lost.offset >= 0:
            self.lost.append(takeover.lost)

    def refuse(self, row: Row, why: str) -> Letter:
        """Go on without that row, of which this is the letter; of a message a hole stays."""
        record = self._take_out(row)
        place = (self.partition, record.offset)
        letter = Letter("refused", *place, why, record.key, record.value)
        if isinstance(row, MessageRow):
            self.holes.append(self._hole(row, record, why))
            letter = letter._replace(message_id=row.message_id)
        return letter

    def _hole(self, row: MessageRow, record: Record, why: str) -> Hole:
        known = decode_once(record)
        sent_as = known.client_message_id if isinstance(known, Origin) else ""
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
            client_message_id=sent_as,
        )

    def _take_out(self, row: Row) -> Record:
        if isinstance(row, MessageRow):
            at = self.messages.index(row)
            del self.messages[at]
            return self._message_records.pop(at)
        at = self.marks.index(row)
        del self.marks[at]
        return self._mark_records.pop(at)


def rows_of(log_id: str, partition: int, fold: Fold, records: Sequence[Record]) -> Rows:
    """Fold the records of a partition, in order, into rows."""
    rows = Rows(log_id, partition)
    for record in records:
        known = decode_once(record)
        counts = fold.step(record.offset, known, record.appended_at_ms)
        if isinstance(known, Undecodable):
            rows.unreadable(record, known)
        elif counts and isinstance(known, Origin):
            rows.add(record, known)
        elif isinstance(known, Takeover):
            rows.takeover(record, known)
    rows.clock_ms = fold.clock_ms
    return rows
