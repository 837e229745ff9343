"""The owner of one partition: it accepts sends, reads the log, delivers and forwards.

This module is pure. The shell appends what `takeover`, `accept`, `state` and `forwarder` hand out,
feeds every record of the partition to `read` in order, and passes in the time. A send is
acknowledged, delivered and forwarded only after its record was read back from the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cecochat.domain.errors import Refusal, Undecodable
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import (
    SEQUENCE_MAX,
    STAMP_MAX,
    UserId,
    message_id,
    stamp_at,
    stamp_of,
)
from cecochat.domain.log.limits import CLOCKS_APART_MAX_MS, OwnerLimits
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Copy, LogRecord, Missing, Origin, State, Takeover
from cecochat.domain.ownership import refusals
from cecochat.domain.ownership.clock import OwnClock
from cecochat.domain.ownership.forwarder import Forwarder
from cecochat.domain.ownership.hidden import Hidden
from cecochat.domain.ownership.incoming import Incoming
from cecochat.domain.ownership.sent import Accepted, Key, SentTable, content_of
from cecochat.domain.ownership.states import StateRecords
from cecochat.domain.ownership.tail import Tail, Valid
from cecochat.domain.session import frames
from cecochat.domain.session.session import Session
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import Send

OUTDATED = "says more than this owner was loaded with"
HIDES = "may hide a send of this owner, and then no later one counts"


class Pending(NamedTuple):
    """A send whose append is under way, and the sessions that wait for it."""

    content: int
    sessions: list[Session]
    accepted_ms: int


class Owner:
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
        self.partition = partition
        self.session = session
        self.fold = fold
        self.cursor = cursor
        self.limits = limits
        self.epoch: Place | None = None  # set when the own takeover is read; then it can accept
        self.superseded: Takeover | None = None
        self._is_afresh = fold.is_afresh
        self._log_end = log_end
        self.must_end = ""  # why the epoch has to end; then this partition is loaded again
        self.hidden = Hidden(fold)
        self.delivered = 0  # events that were queued for open sessions
        self.crowded = False  # some session's queue is half full: let its client read
        self.forwarder = Forwarder(partition, forwarded, limits)
        self.incoming = Incoming(partition, fold)
        self.sent = SentTable(cursor - 1, limits)
        self.tail = Tail(self.place)
        self.sessions: dict[UserId, list[Session]] = {}
        self.pending: dict[Key, Pending] = {}
        self._number = 0
        self._stamp = 0
        self._serves_home = False  # whether the next origin is also for recipients in its partition
        self.clock = OwnClock()
        self._taken_over_ms = 0  # when the takeover was made
        self._states = StateRecords(cursor - 1, limits)

    @property
    def place(self) -> Place:
        """The place up to which this owner has read the log."""
        return Place(self.fold.clock_ms, self.cursor - 1)

    @property
    def ready(self) -> bool:
        """Whether this owner has read its own takeover, and no other after it."""
        return self.epoch is not None and self.superseded is None

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

    # -- sends

    def accept(
        self, session: Session, send: Send, recipients: Sequence[UserId], now_ms: int
    ) -> Origin:
        """Return the record to append for a send that was checked and that `settle` did not settle.

        Raises `Refusal` and changes nothing if this server's clock is ahead of the log's, or past
        the last message id.
        """
        if not self.clock.is_right(now_ms):
            raise refusals.clock_ahead()
        origin = self._origin(session.user_id, send, recipients, now_ms)
        key = (session.user_id, send.client_message_id)
        self.pending[key] = Pending(content_of(send), [session], now_ms)
        return origin

    def settle(self, session: Session, send: Send, seen: int) -> bool:
        """Whether a send needs no append, because it is answered here.

        It may be a repeat, which is acknowledged again or joins the append under way. Or the
        session takes no more sends, or its client has to catch up first. `seen` is the offset up to
        which the client has seen the stream.

        Call this before any check that can refuse a send: a send that was accepted once must not be
        refused when it comes again.
        """
        if session.closed or session.blocked:
            return True
        key = (session.user_id, send.client_message_id)
        first = self.sent.find(key) or self.under_way(key)
        if first is None:
            if refusal := self._refuses(seen):
                session.close(refusal)
            return refusal is not None
        if first.content != content_of(send):
            session.refuse(key[1], refusals.reused_id(key[1]))
        elif isinstance(first, Accepted):
            session.push(frames.ack(key[1], first.message_id, first.at))
        elif session not in first.sessions:
            first.sessions.append(session)
        return True

    def _refuses(self, seen: int) -> Refusal | None:
        """Return why a send from a client that has seen the stream up to `seen` cannot be taken as
        a new one; None if it can.
        """
        if seen >= self.cursor:
            return refusals.ahead(seen)
        return None if self.sent.covers(seen) else refusals.catch_up()

    def is_repeat(self, key: Key) -> bool:
        """Return whether a send with that key was accepted before, or its append is under way."""
        return key in self.pending or self.sent.find(key) is not None

    def under_way(self, key: Key) -> Pending | None:
        """Return the send with that key, if its append is under way."""
        return self.pending.get(key)

    def _origin(
        self, user_id: UserId, send: Send, recipients: Sequence[UserId], now_ms: int
    ) -> Origin:
        assert self.epoch is not None, "an owner accepts only once it has read its takeover"
        body = send.WhichOneof("body")
        assert body is not None, "a send without a body is refused at the edge"
        event = Event(
            id=message_id(self.next_stamp(now_ms, send.seen_id), self.partition),
            user_id=user_id,
            chat_id=send.chat_id,
            client_message_id=send.client_message_id,
            recipient_ids=recipients,
            **{body: getattr(send, body)},
        )
        number, self._number = self._number, self._number + 1
        self._serves_home = self._serves_home or self.can_serve_home()
        return Origin(
            event.id,
            self.epoch,
            number,
            user_id,
            send.client_message_id,
            tuple(recipients),
            event.SerializeToString(),
            event,
            serves_home=self._serves_home,
        )

    def can_serve_home(self) -> bool:
        """Return whether recipients in this partition may get the next origin itself.

        They may once nothing is on its way to them as a copy, which the next origin would overtake.
        Once they do, no origin of this epoch is copied to them any more.
        """
        chain, home = self.fold.chain, self.partition
        is_whole = not chain.last_for(home).origin.lies_above(self.fold.high_of(home))
        return is_whole and not self.pending

    def next_stamp(self, now_ms: int, seen_id: int = 0) -> int:
        """Return the next stamp. Stamps strictly increase and lie above everything that this
        partition has seen, whatever the clocks do.

        They also lie above the whole millisecond of `seen_id`, unless that is far in the future. If
        this server's clock is behind the log's, the log's clock is used.
        """
        now_ms = max(now_ms, self.fold.clock_ms)
        seen = min(stamp_of(seen_id) | SEQUENCE_MAX, stamp_at(now_ms + CLOCKS_APART_MAX_MS))
        stamp = max(stamp_at(now_ms), self._stamp + 1, self.fold.top + 1, seen + 1)
        if stamp > STAMP_MAX:
            raise refusals.no_more_ids()
        self._stamp = stamp
        return stamp

    # -- the log

    def read(self, offset: int, record: LogRecord, appended_at_ms: int, now_ms: int) -> bool:
        """Take in the next record of the partition, as read from the log. Returns whether it
        counts.
        """
        self.cursor = offset + 1
        self._states.begin(now_ms)
        counts = self.fold.step(offset, record, appended_at_ms)
        self._look_for_own_sends(offset)
        if not counts:
            return False
        match record:
            case Origin():
                self._read_origin(record, appended_at_ms, now_ms)
            case Copy():
                self._publish(Valid(self.place, record.recipient_ids, record.event))
            case Takeover():
                self._read_takeover(record, appended_at_ms)
            case Missing():
                self._read_missing(record)
            case State():
                if self._is_afresh and self.epoch is None:
                    self.must_end = OUTDATED
                if (made_ms := self._states.read(offset, record.as_of, now_ms)) is not None:
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
            ack = frames.ack(record.client_message_id, record.id, at)
            for session in waiting.sessions:
                if session in self.sessions.get(record.user_id, ()):
                    session.deliver(at.offset, ack)
        self._publish(Valid(at, (record.user_id, *self.fold.chain.home), record.event))

    def _publish(self, valid: Valid) -> None:
        self.tail.add(valid, self.limits.tail_max_bytes)
        for user_id in valid.user_ids:
            for session in self.sessions.get(user_id, ()):
                if session.position < valid.at.offset:
                    session.deliver(valid.at.offset, valid.chunk)
                    self.delivered += 1
                    self.crowded |= not session.has_room

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
        for session in [s for sessions in self.sessions.values() for s in sessions]:
            session.close(refusal, address, websocket)
        self.sessions.clear()

    def expire(self, now_ms: int) -> None:
        """Forget old sends, and tell idle sessions a newer position, so that they can go on
        sending. Call this about once a second.
        """
        self.clock.go_on(now_ms)
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

    def state(self, now_ms: int) -> State:
        """Return the state record to append now."""
        self._states.make(self.cursor - 1, now_ms)
        self.clock.looks(now_ms)
        return self.fold.state(self.cursor - 1)

    def released(self, materialized: int) -> int | None:
        """Return the lowest offset that the protocol still needs if the history has everything
        below `materialized`; None if that has not moved up.

        Everything below it is forwarded and materialized, and covered by a state record that this
        owner has written. One of an earlier session may describe an end that the log has lost.
        """
        return self._states.released(min(self.forwarder.done + 1, materialized))
