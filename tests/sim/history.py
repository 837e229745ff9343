"""The history database of the simulator, and what writes it.

A batch of rows is written as requests that land one by one, in any order; the progress follows when
all of them have. What a dead materializer has sent may land later.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cecochat.client.events import Message, message_of
from cecochat.domain.changes.about import about
from cecochat.domain.changes.texts import age_id, blank
from cecochat.domain.errors import Undecodable
from cecochat.domain.groups.changes import Seen
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import partition_in
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import LogRecord, Origin, Takeover
from cecochat.domain.log.spans import STILL, Span, Spans
from cecochat.ports.history import Hole
from cecochat.servers.history.folding import folded
from cecochat.servers.history.holes import REASONS
from cecochat.servers.history.sight import changes_seen
from cecochat.servers.materialize.trims import Hidden, Loss, trimmed, uncopied, unproven
from cecochat.v1.events_pb2 import ROLE_MEMBER, ROLE_UNSPECIFIED, Event, Membership
from cecochat.v1.history_pb2 import MessageState
from cecochat.v1.messaging_pb2 import ReadToken
from tests.sim import beginning
from tests.sim.evidence import Range, Row, View
from tests.sim.log import LOG_ID
from tests.sim.recount import now_of
from tests.sim.shape import GROUP, USERS

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
        self.late: set[Row] = set()  # what has landed behind a hole that names it
        self._changes: dict[int, Membership] = {}  # of the group
        self._belonging: Spans[str] = Spans()
        self._changed: dict[int, dict[int, Event]] = {}  # message id -> changes of it by id
        self.kept_from = 0  # what has a lower id is too old
        self.told: dict[str, Hole] = {}  # ranges of what may be missing, by what they are

    def write(self, event: Event) -> None:
        """Store a message."""
        self.rows[row_of(event)] = event
        if event.HasField("membership"):
            self._note_change(event)
        if change := about(event):
            self._changed.setdefault(change.message_id, {})[event.id] = event

    def refuses(self, event: Event) -> bool:
        """Whether it never takes that row, for what it is."""
        return event.HasField("message") and int(event.client_message_id) in self.unfit

    def note(self, hole: Hole) -> None:
        """Something may be missing for good. What of it has landed, or was refused, and is not
        shown yet, comes to light later.
        """
        self.told[f"{hole.reason} {hole.name} {hole.last_offset}"] = hole
        if hole.reason in REASONS:
            known = self.rows.keys() | self.holes
            hidden = {row for row in known if not self.shows(row)}
            self.late |= {row for row in hidden if Range(*_ids(hole)).has(row)}

    def ranges(self) -> list[Range]:
        """Where readers are told that messages may be missing."""
        return [Range(*_ids(hole)) for hole in self.told.values() if hole.reason in REASONS]

    def reached(self, partition: int, place: Place, last_id: int) -> None:
        """All origins of a partition up to there are here."""
        self.progress[partition] = max(place, self.progress.get(partition, NOWHERE))
        self.up_to[partition] = max(last_id, self.up_to.get(partition, 0))

    def covers(self, token: ReadToken) -> bool:
        """Whether everything up to there is here."""
        assert token.log_id == LOG_ID
        asked = {p: Place(token.clocks.get(p, 0), at) for p, at in token.offsets.items()}
        return not any(at.lies_above(self.progress.get(p, NOWHERE)) for p, at in asked.items())

    def shows(self, row: Row) -> bool:
        """Whether all rows of its partition with lower ids are here, too."""
        return row.id <= self.up_to.get(partition_in(row.id), 0)

    def chats(self, user: str, after: str) -> list[str]:
        """The next of the chats that the user has messages in, by chat id."""
        known = self.rows.keys() | self.holes
        found = {row.chat for row in known if self.shows(row) and self._may_read(user, row)}
        return sorted(chat for chat in found if chat > after)[:1]

    def page(self, user: str, chat: str, after: int, limit: int) -> tuple[list[Event], bool]:
        """The next messages of a chat that the user may read, above an id, in order, those that are
        missing or too old without their content; and whether there are more.
        """
        rows = [
            row
            for row in sorted(self.rows.keys() | self.holes)
            if row.chat == chat and row.id > after and self.shows(row)
            if self._may_read(user, row)
        ]
        page = [self._shown(user, row) for row in rows[:limit]]
        return page, len(rows) > limit

    def _shown(self, user: str, row: Row) -> Event:
        event = self.rows.get(row)
        return self.told_of(self._folded(user, event)[0]) if event else _missing(row)

    def told_of(self, event: Event) -> Event:
        """An event as it goes out: what is too old has no content."""
        if age_id(event) >= self.kept_from:
            return event
        told = Event.FromString(event.SerializeToString())
        blank(told)
        return told

    def message(self, user: str, event: Event) -> Message:
        """A message as a user sees it now."""
        return message_of(*self._folded(user, event))

    def views(self) -> Iterator[View]:
        """What everybody sees of each message now."""
        for row, event in self.rows.items():
            for user in USERS if event.HasField("message") else ():
                if self._may_read(user, row) and row.id >= self.kept_from:
                    yield View(user, row.id, now_of(self.message(user, event)))

    def _folded(self, user: str, event: Event) -> tuple[Event, MessageState | None]:
        change = about(event)
        id_ = change.message_id if change else event.id
        changes = [each.SerializeToString() for each in self._changed.get(id_, {}).values()]
        if not changes:
            return event, None
        known = changes_seen({id_: changes}, self._seen(user, event.chat_id))
        found = folded(event.SerializeToString(), known)
        return Event.FromString(found.event), found.state

    def _seen(self, user: str, chat: str) -> Seen:
        spans = tuple(self._belonging.of(user)) if chat == GROUP else (Span(0, STILL),)
        is_member = spans[-1].last_id == STILL
        role = ROLE_MEMBER if is_member else ROLE_UNSPECIFIED
        return Seen(role, spans[-1].last_id, ranges=spans, stays=spans)

    def _may_read(self, user: str, row: Row) -> bool:
        if row.chat != GROUP:
            return user == row.sender or user in row.recipients
        return self._belonging.covers(user, row.id)

    def _note_change(self, event: Event) -> None:
        """Note who belongs to the group when. Rows land in any order."""
        self._changes[event.id] = event.membership
        self._belonging = Spans()
        for id_, change in sorted(self._changes.items()):
            for user in change.added_ids:
                self._belonging.begin(user, id_)
            for user in change.removed_ids:
                self._belonging.end(user, id_)


def row_of(event: Event) -> Row:
    """An event as the oracle sees it."""
    return Row(
        event.id,
        event.user_id,
        int(event.client_message_id),
        event.chat_id,
        tuple(event.recipient_ids),
    )


def _ids(hole: Hole) -> tuple[int, int, int]:
    return hole.partition, hole.first_id, hole.last_id


def _missing(row: Row) -> Event:
    """All that is known of it: it has no content."""
    return Event(id=row.id, user_id=row.sender, client_message_id=str(row.number), chat_id=row.chat)


class Materializer:
    """Writes a partition's valid origins to the history, from its committed offset on."""

    def __init__(self, world: World, partition: int) -> None:
        self.world = world
        self.partition = partition
        self.log = world.logs[partition]
        self.committed = NOWHERE  # up to where it has dealt with all
        self.noted = NOWHERE  # what was known of the log when this began
        self.strays: list[Event] = []  # sent by one that died
        self.writing: list[Event] = []
        self.restart()

    def restart(self) -> None:
        """Start from what is committed, or from less where the history lacks it."""
        self.strays += self.writing
        self.writing = []
        self.last_id = 0
        held = self.held(self.world.history.progress.get(self.partition, NOWHERE))
        fold = self.log.known_fold_at(held.offset)
        self.place = held if fold is None else Place(max(fold.clock_ms, held.clock_ms), held.offset)
        self._begin(held.offset, fold)

    def _begin(self, position: int, fold: Fold | None) -> None:
        """None: it waits for a record that tells what counts."""
        self.fold = fold
        self.durable = position
        self.cursor = position + 1
        self.last = self.log.last(position)  # record that it has read

    def held(self, reached: Place) -> Place:
        """Up to where the history holds the log: from the beginning, if that is of an end that the
        log has lost.
        """
        log, held = self.log, min(self.committed.offset, reached.offset)
        lost = [place for place in (reached, self.committed) if not log.holds(place)]
        if lost:
            self.note_loss(max(lost))
        self.noted = NOWHERE if lost else max(reached, self.committed)
        if reached in lost:
            held = -1
        elif reached.offset < log.start - 1:
            self.note_trim(reached)
        return Place(reached.clock_ms, max(held, log.start - 1))

    def note_loss(self, known: Place) -> None:
        """The log has lost an end that had reached that place: a hole is told, once a loss."""
        history, (first, at_ms) = self.world.history, self.log.goes_on_at(known)
        loss = Loss(LOG_ID, self.partition, known, first, at_ms or self.world.now_ms)
        if not any(loss.is_told_by(each) for each in history.told.values()):
            history.note(loss.hole(history.up_to.get(self.partition, 0)))

    def look_back(self) -> None:
        """What was known when this began may have been lost before it came that far again."""
        if self.place.lies_above(self.noted):
            if not self.log.holds(self.noted):
                self.note_loss(self.noted)
            self.noted = NOWHERE

    def note_trim(self, reached: Place) -> None:
        """The log has dropped what is not in the history."""
        history, log = self.world.history, self.log
        at_ms = log.appended_at_ms[log.start] if log.start < log.end else self.world.now_ms
        above = history.up_to.get(self.partition, 0)
        history.note(trimmed(LOG_ID, self.partition, reached.offset, log.start, at_ms, above))
        history.reached(self.partition, Place(reached.clock_ms, log.start - 1), 0)

    @property
    def is_lost(self) -> bool:
        """Whether the log does not hold any more what this has read of it."""
        return self.log.differs(self.cursor, self.last)

    def decide(self) -> bool:
        """Whether what is left of the log tells by now what of it counts."""
        undecided = beginning.read_cut_log(self.log)
        if undecided.fold is None:
            return False
        if undecided.unproven:
            self.world.history.note(unproven(LOG_ID, self.partition, undecided.unproven))
        self._begin(self.log.start - 1, undecided.fold)
        return True

    def step(self, records: int) -> bool:
        """Read a batch and begin to write it; one at a time."""
        log = self.log
        if self.writing:
            return False
        before = self.place
        if self.is_lost or self.cursor < log.start:
            self.restart()
        if (self.fold is None and not self.decide()) or self.cursor >= log.end:
            return self.place != before
        hidden = Hidden(LOG_ID, self.partition)
        for offset in log.offsets(self.cursor, log.end)[:records]:
            self.read(offset, log.records[offset], log.appended_at_ms[offset], hidden)
            self.cursor = offset + 1
        self.tell_hidden(hidden)
        self._note_written()
        return True

    def tell_hidden(self, hidden: Hidden) -> None:
        """What the log does not show of a batch."""
        hidden.end()
        for hole in hidden.holes:
            self.world.history.note(hole)

    def read(
        self, offset: int, record: LogRecord | Undecodable, appended_at_ms: int, hidden: Hidden
    ) -> None:
        """The next record."""
        assert self.fold is not None
        self.last = record
        counts = self.fold.step(offset, record, appended_at_ms)
        for gap in self.fold.gaps.found:
            hidden.add(gap)
        if counts and isinstance(record, Origin):
            hidden.valid(record.id)
            self.writing.append(Event.FromString(record.event))
        elif isinstance(record, Takeover):
            at = (offset, record, appended_at_ms)
            if hole := uncopied(LOG_ID, self.partition, *at):
                self.world.history.note(hole)
            if record.lost.offset >= 0:
                self.note_loss(record.lost)

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
        event, history = self.strays.pop(index), self.world.history
        row = row_of(event)
        if row not in history.rows and any(each.has(row) for each in history.ranges()):
            history.late.add(row)
        if not history.refuses(event):
            history.write(event)
        return True

    def _note_written(self) -> None:
        if not self.writing:
            assert self.fold is not None
            self.durable = self.cursor - 1
            clock_ms = max(self.fold.clock_ms, self.place.clock_ms)
            self.place = Place(clock_ms, self.durable)
            self.look_back()
            self.world.history.reached(self.partition, self.place, self.last_id)


class Audit:
    """Compares a partition of the log with the history, as far as it may judge."""

    def __init__(self, world: World, partition: int) -> None:
        self.world = world
        self.partition = partition
        self.begin(-1)
        self.alarms: list[Row] = []  # what it would name; the history never loses anything here

    def begin(self, position: int) -> None:
        """Read on from there; what is before it cannot be compared."""
        self.fold: Fold | None = None
        self.cursor = position + 1
        self.last = self.world.logs[self.partition].last(position)  # record that it has read

    def known(self) -> Fold | None:
        """The fold below the cursor, as far as anything that is left tells by now."""
        log = self.world.logs[self.partition]
        return log.known_fold_at(self.cursor - 1) or beginning.read_cut_log(log).fold

    def whole(self) -> int:
        """Up to where materialize says that all is there: its committed offset, which it takes back
        at once where that is of an end that the log has lost.
        """
        place = self.world.materializers[self.partition].committed
        return place.offset if self.world.logs[self.partition].holds(place) else -1

    def step(self) -> None:
        """Compare what has come."""
        log = self.world.logs[self.partition]
        if log.differs(self.cursor, self.last) or self.cursor < log.start:
            self.begin(log.start - 1)
        fold = self.fold = self.fold or self.known()
        if fold is None:
            return
        for offset in log.offsets(self.cursor, self.whole() + 1):
            self.last = record = log.records[offset]
            counts = fold.step(offset, record, log.appended_at_ms[offset])
            if counts and isinstance(record, Origin):
                row = row_of(Event.FromString(record.event))
                if row not in self.world.history.rows and row not in self.world.history.holes:
                    self.alarms.append(row)
            self.cursor = offset + 1
