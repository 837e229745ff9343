"""The owner of one partition: it accepts sends, reads the log, delivers and forwards.

This module is pure. The shell appends what `takeover`, `accept`, `state` and `forwarder` hand out,
feeds every record of the partition to `read` in order, and passes in the time. A send is
acknowledged, delivered and forwarded only after its record was read back from the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from cecochat.domain.errors import Refusal, Undecodable
from cecochat.domain.log.chain import Here
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import (
    UserId,
    app_of,
)
from cecochat.domain.log.limits import OwnerLimits
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Copy, LogRecord, Missing, Origin, State, Takeover
from cecochat.domain.ownership.accepting import Accepting
from cecochat.domain.ownership.asking import Asking
from cecochat.domain.ownership.forwarder import Forwarder
from cecochat.domain.ownership.hidden import Hidden
from cecochat.domain.ownership.incoming import Incoming
from cecochat.domain.ownership.sent import Accepted, SentTable, content_of
from cecochat.domain.ownership.states import StateRecords
from cecochat.domain.ownership.tail import Tail, Valid
from cecochat.domain.session import frames
from cecochat.domain.session.session import Session
from cecochat.v1.events_pb2 import Event

OUTDATED = "says more than this owner was loaded with"
LACKS_MEMBERS = "shows that changes of a group are missing"
HIDES = "may hide a send of this owner, and then no later one counts"


class Owner(Accepting):
    """The owner of a partition in one producer session, whose name is `session`; see the module.

    `cursor` is the next offset to read, and `fold` stands just below it. The fold was loaded from
    a log that ended below `log_end`. `forwarded` is the offset up to which earlier owners have
    copied everything.
    """

    def __init__(
        self,
        partition: int,
        session: str,
        fold: Fold,
        *,
        cursor: int,
        forwarded: int,
        limits: OwnerLimits,
        log_end: int = 0,
    ) -> None:
        super().__init__(partition, fold, cursor, limits)
        self.session = session
        self.superseded: Takeover | None = None
        self.ended = False
        self._is_afresh = fold.is_afresh
        self._groups = fold.groups
        self._log_end = log_end
        self.must_end = ""  # why the epoch has to end; then this partition is loaded again
        self.hidden = Hidden(fold)
        self._delivered: Counter[str] = Counter()  # events that were queued for sessions, by app
        self.crowded = False  # some session's queue is half full: let its client read
        self.forwarder = Forwarder(partition, forwarded, limits)
        self.incoming = Incoming(partition, fold)
        self.asking = Asking(self)
        self.tail = Tail(self.place, fold.groups)
        self.sessions: dict[UserId, list[Session]] = {}
        self._taken_over_ms = 0  # when the takeover was made
        self._states = StateRecords(cursor - 1, limits)

    @property
    def here(self) -> Here:
        """This partition, and where everybody lives."""
        assert self.fold.here, "who owns a partition knows where everybody lives"
        return self.fold.here

    @property
    def ready(self) -> bool:
        """Whether this owner has read its own takeover, and no other after it, and knows who
        belongs to each group.
        """
        return self.epoch is not None and self.superseded is None and not self.lacks_members

    @property
    def lacks_members(self) -> bool:
        """Whether the log does not say who belongs to some groups. If so, the homes of these groups
        have to say it, before this owner is ready; if it was ready already, its epoch ends.
        """
        return self._groups is not None and bool(self._groups.wrong)

    def takeover(
        self,
        server_id: str,
        assignment_version: int,
        now_ms: int,
        uncopied: tuple[int, int] = (0, 0),
        lost: Place = NOWHERE,
    ) -> Takeover:
        """Return the takeover record, which this owner has to append first."""
        self._taken_over_ms = now_ms
        return Takeover(server_id, self.session, assignment_version, uncopied, lost=lost)

    # -- the log

    def read(self, offset: int, record: LogRecord, appended_at_ms: int, now_ms: int) -> bool:
        """Take in the next record of the partition, as read from the log. Returns whether it
        counts.
        """
        self.cursor = offset + 1
        self._states.begin(now_ms)
        lacked_members = self.lacks_members
        counts = self.fold.step(offset, record, appended_at_ms)
        self._look_for_own_sends(offset)
        if self.lacks_members and not lacked_members and self.epoch is not None:
            self.must_end = LACKS_MEMBERS
        if not counts or self.must_end:
            return counts
        match record:
            case Origin():
                self._read_origin(record, appended_at_ms, now_ms)
            case Copy():
                self._read_copy(record, now_ms)
            case Takeover():
                self._read_takeover(record, appended_at_ms)
            case Missing():
                self._read_missing(record)
            case State():
                if self._is_afresh and self.epoch is None:
                    self.must_end = OUTDATED
                if (made_ms := self._states.read(offset, record, now_ms)) is not None:
                    self.clock.compare(made_ms, appended_at_ms)
        return True

    def skip(self, offset: int, record: Undecodable, appended_at_ms: int) -> None:
        """Take in a record that cannot be understood."""
        self.cursor = offset + 1
        self.fold.step(offset, record, appended_at_ms)
        self._look_for_own_sends(offset)

    def _look_for_own_sends(self, offset: int) -> None:
        """End the epoch if a send of its own may be hidden: then no send after it will count."""
        if self.hidden.read(offset, self.pending if self.ready else None):
            self.must_end = HIDES

    def _read_takeover(self, record: Takeover, appended_at_ms: int) -> None:
        if record.session == self.session:
            self.epoch = self.fold.epoch
            if self._is_afresh:
                self.state_soon()
            if any(record.uncopied):  # it may not know what counted before
                self.sent = SentTable(self.place, self.limits)
            self.clock.compare(self._taken_over_ms, appended_at_ms)
        elif self.epoch is not None:
            self.superseded = record
        elif self._is_outdated_by(record):
            self.must_end = OUTDATED

    def _is_outdated_by(self, other: Takeover) -> bool:
        """Return whether another owner began afresh since this one was loaded, so that nothing
        before its takeover counts any more. It does not matter if the own takeover on its way says
        the same.
        """
        begins_afresh_too = self._is_afresh and self._taken_over_ms > 0
        return other.is_afresh and self.cursor > self._log_end and not begins_afresh_too

    def _read_origin(self, record: Origin, appended_at_ms: int, now_ms: int) -> None:
        at = self.place
        key = (record.user_id, record.client_message_id)
        waiting = self.pending.pop(key, None)
        content = waiting.content if waiting else content_of(record.parsed)
        self.sent.add(key, Accepted(record.id, at, now_ms, content))
        self.forwarder.add(at, record, self.fold.chain.links)
        if waiting:
            self.clock.compare(waiting.accepted_ms, appended_at_ms)
            self._acknowledge(record.parsed, waiting.sessions)
        concerned = (record.user_id, *self.fold.chain.home)
        self._publish(Valid(at, concerned, record.event, record.group_event))

    def _read_copy(self, record: Copy, now_ms: int) -> None:
        event = record.group_event
        if event and self.here.has(event.user_id):
            self._read_answer(event, record, now_ms)
        self._publish(Valid(self.place, record.recipient_ids, record.event, event))

    def _read_answer(self, event: Event, record: Copy, now_ms: int) -> None:
        """Take in that a send of a user of this partition was accepted by the home of its group. A
        home that has lost its end may not know it any more, so a repeat is answered here.
        """
        key = (UserId(event.user_id), event.client_message_id)
        self.sent.add(key, Accepted(event.id, self.place, now_ms, content_of(event), record.origin))
        sessions = self.asking.read(record.origin_partition, key, now_ms)
        self._acknowledge(event, sessions, record.origin)

    def _acknowledge(
        self, event: Event, sessions: Iterable[Session], home: Place = NOWHERE
    ) -> None:
        ack = frames.ack(event.client_message_id, event.id, self.place, home)
        for session in sessions:
            if session in self.sessions.get(UserId(event.user_id), ()):
                session.deliver(self.place.offset, ack)

    def _publish(self, valid: Valid) -> None:
        user_ids: Sequence[UserId] = valid.user_ids
        if valid.group_event and self._groups:
            user_ids = self._groups.concerned(valid.group_event, self.sessions)
        self.tail.add(valid, self.limits.tail_max_bytes)
        delivered = 0
        for user_id in user_ids:
            for session in self.sessions.get(user_id, ()):
                if session.position < valid.at.offset:
                    session.deliver(valid.at.offset, valid.chunk)
                    delivered += 1
                    self.crowded |= not session.has_room
        if delivered:
            self._delivered[app_of(user_id)] += delivered  # all of a chat are of one app

    def take_delivered(self) -> Mapping[str, int]:
        """Return how many events were queued for open sessions since the last call, by app."""
        delivered, self._delivered = self._delivered, Counter()
        return delivered

    def _read_missing(self, record: Missing) -> None:
        """Copy again what a target lacks, if it lacks anything."""
        last, high = self.fold.chain.last_for(record.target).origin, record.high
        if self.ready and last.lies_above(high):
            # If its `high` is from an end that this log has lost, it may lack all that is here now.
            held = high.holds_where(self.tail.clock_at(high.offset) or 0)
            self.forwarder.rewind(record.target, high.offset if held else -1)

    # -- sessions

    def can_attach(self, session: Session) -> bool:
        """Return whether the tail holds everything that the session has not been told yet."""
        return session.position >= self.tail.floor.offset

    def attach(self, session: Session) -> bool:
        """Queue what the session has not been told yet, tell it that it is caught up, and deliver
        to it from now on. Returns False if its queue has no room for all of that: try again when
        its client has read.
        """
        if not self.tail.replay(session):
            return False
        self.sessions.setdefault(session.user_id, []).append(session)
        self.tell_position(session)
        return True

    def tell_position(self, session: Session) -> None:
        """Tell an attached session that it has everything up to now."""
        session.position = max(session.position, self.cursor - 1)
        session.push(frames.caught_up(self.place))

    def detach(self, session: Session) -> None:
        """Forget a session that has ended. It does no harm if it is not known here."""
        sessions = self.sessions.get(session.user_id, [])
        if session in sessions:
            sessions.remove(session)
            if not sessions:
                del self.sessions[session.user_id]

    def end(self, refusal: Refusal, address: str = "", websocket: str = "") -> None:
        """Close all sessions, since this owner has ended. The addresses are those of the next."""
        self.ended = True
        for session in [s for sessions in self.sessions.values() for s in sessions]:
            session.close(refusal, address, websocket)
        self.sessions.clear()

    def expire(self, now_ms: int) -> None:
        """Forget old sends, and tell idle sessions a newer position, so that they can go on
        sending. Call this about once a second.
        """
        self.clock.go_on(now_ms)
        self.asking.expire(now_ms)
        announced = self.sent.expire(now_ms)
        for sessions in self.sessions.values():
            for session in sessions:
                if session.position < announced:
                    self.tell_position(session)

    # -- state records and retention

    def state_due(self, now_ms: int) -> bool:
        """Return whether to append a state record: because enough was read since the last one,
        because that is so old that it holds up retention, or to see whether the clock is right
        again.
        """
        return self._states.is_due(self.cursor - 1, now_ms) or self.clock.look_due(now_ms)

    def state_soon(self) -> None:
        """Make a state record due now, since a reader needs one to go on."""
        self._states.soon(self.cursor - 1)

    def states(self, now_ms: int) -> list[State]:
        """Return the state records to append now."""
        as_of, groups = self.cursor - 1, self.fold.groups
        self.clock.looks(now_ms)
        if groups is None or not self._states.tells_groups(as_of, groups.size):
            self._states.make(as_of, now_ms)
            return [self.fold.state(as_of)]
        states = self.fold.states(as_of, self.limits.part_members)
        self._states.make(as_of, now_ms, len(states))
        return states

    def released(self, materialized: int) -> int | None:
        """Return the lowest offset that the protocol still needs if the history has everything
        below `materialized`; None if that has not moved up.

        Everything below it is forwarded and materialized, and covered by a state record that this
        owner has written. One of an earlier session may describe an end that the log has lost.
        """
        return self._states.released(min(self.forwarder.done + 1, materialized))
