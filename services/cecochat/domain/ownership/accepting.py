"""How the owner of a partition accepts sends: which are new, what records they become, and the ids
of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cecochat.domain.errors import Refusal
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
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Origin
from cecochat.domain.ownership import refusals
from cecochat.domain.ownership.asks import Known, Taken
from cecochat.domain.ownership.clock import OwnClock
from cecochat.domain.ownership.sent import Accepted, Key, SentTable, content_of
from cecochat.domain.session import frames
from cecochat.domain.session.session import Session
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import Send


class Pending(NamedTuple):
    """A send whose append is under way, and the sessions that wait for it."""

    content: int
    sessions: list[Session]
    accepted_ms: int


class Accepting:
    """The part of an owner that takes sends. `fold` stands just below `cursor`, the next offset to
    read.
    """

    def __init__(self, partition: int, fold: Fold, cursor: int, limits: OwnerLimits) -> None:
        self.partition = partition
        self.fold = fold
        self.cursor = cursor
        self.limits = limits
        self.epoch: Place | None = None  # set when the own takeover is read; then it can accept
        self.clock = OwnClock()
        self.sent = SentTable(self.place, limits)
        self.pending: dict[Key, Pending] = {}
        self._number = 0
        self._stamp = 0
        self._serves_home = False  # whether the next origin is also for recipients in its partition

    @property
    def place(self) -> Place:
        """The place up to which this owner has read the log."""
        return Place(self.fold.clock_ms, self.cursor - 1)

    def accept(
        self, user_id: UserId, send: Send, recipients: Sequence[UserId], now_ms: int
    ) -> Origin:
        """Return the record to append for a send that was checked and that `settle` did not settle.
        Then say who waits for it.

        Raises `Refusal` and changes nothing if this server's clock is ahead of the log's, or past
        the last message id.
        """
        if not self.clock.is_right(now_ms):
            raise refusals.clock_ahead()
        origin = self._origin(user_id, send, recipients, now_ms)
        self.pending[user_id, send.client_message_id] = Pending(content_of(send), [], now_ms)
        return origin

    def wait(self, session: Session, client_message_id: str) -> None:
        """Have a session wait for a send that was just accepted for it."""
        self.pending[session.user_id, client_message_id].sessions.append(session)

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
            session.push(frames.ack(key[1], first.message_id, first.at, first.home))
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

    def repeat_of(self, user_id: UserId, send: Send) -> Taken | Known | Refusal | None:
        """Return what became of a send that was taken before, also for whoever has no session here,
        or why its id cannot be used again; None: it is not known here.
        """
        key = (user_id, send.client_message_id)
        first = self.sent.find(key) or self.under_way(key)
        if first is None:
            return None
        if first.content != content_of(send):
            return refusals.reused_id(send.client_message_id)
        return Known(first.message_id, first.at) if isinstance(first, Accepted) else Taken()

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
