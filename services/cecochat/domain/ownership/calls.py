"""What the owner of a partition decides about sends of the product's back end.

They come in calls, not on a stream, so there is no position that says what the caller has seen. It
says instead since when it may have tried a send. What the owner does not know from then, the
history does: the caller looks there, and then asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import EPOCH_MS, UserId, message_id, stamp_at
from cecochat.domain.log.limits import CLOCKS_APART_MAX_MS, IDS_AHEAD_MAX_MS
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Origin
from cecochat.domain.ownership import refusals
from cecochat.domain.ownership.accepting import Accepting
from cecochat.domain.ownership.asks import Known, Taken
from cecochat.domain.ownership.sent import Key
from cecochat.v1.messaging_pb2 import Send


class Called(NamedTuple):
    """A send, the earliest time at which it may have been tried (ms since 1970; 0: any), and the
    place in this log up to which the history has no such send.
    """

    user_id: UserId
    send: Send
    since_ms: int = 0
    absent_up_to: Place = NOWHERE
    as_system: bool = False  # in a group, also if the user does not belong to it
    verdict: Refusal | None = None  # why it is to be refused if it was not accepted before

    @property
    def key(self) -> Key:
        """What tells it from other sends."""
        return self.user_id, self.send.client_message_id

    @property
    def after_id(self) -> int:
        """An id below that of its message, if it was accepted before: of the time since when it may
        have been tried, or of the place up to which it was not there. Whoever accepts knows the
        log's clock there, and gives no earlier ids.
        """
        tried_ms = self.since_ms - IDS_AHEAD_MAX_MS if self.since_ms else 0
        began_ms = max(tried_ms, self.absent_up_to.clock_ms, EPOCH_MS)
        return max(message_id(stamp_at(began_ms), 0) - 1, 0)


class Unsure(NamedTuple):
    """The send may have been accepted before, at this place of the log or below: look for it in the
    history, which has to hold everything up to there.
    """

    at: Place


Decision = Taken | Known | Refusal | Unsure


class Calls:
    """Takes sends for the owner of a partition. `accept` makes the record of a send that is no
    repeat, and raises `Refusal`.
    """

    def __init__(self, owner: Accepting, accept: Callable[[Called], Origin]) -> None:
        self._owner = owner
        self._accept = accept

    def take_all(
        self, sends: Iterable[Called], now_ms: int
    ) -> Iterator[tuple[Decision, Origin | None]]:
        """Take sends in order. Once one of a user is unsure, no later one of that user is accepted,
        so that none overtakes it.
        """
        unsure: set[UserId] = set()
        for called in sends:
            if called.user_id in unsure:
                repeated = self._owner.repeat_of(called.user_id, called.send)
                yield repeated or Unsure(self._owner.place), None
                continue
            decision, origin = self.take(called, now_ms)
            if isinstance(decision, Unsure):
                unsure.add(called.user_id)
            yield decision, origin

    def take(self, called: Called, now_ms: int) -> tuple[Decision, Origin | None]:
        """Return what becomes of a send, and the record to append for it, if there is one.

        A refusal may be told only by an owner that has read all that was in its log when it
        decided, and was not superseded there.
        """
        if repeated := self._owner.repeat_of(called.user_id, called.send):
            return repeated, None
        if not self._is_new(called, now_ms + CLOCKS_APART_MAX_MS):
            return Unsure(self._owner.place), None  # what was accepted must not be refused
        if called.since_ms > now_ms + CLOCKS_APART_MAX_MS:
            return refusals.since_ahead(called.since_ms - now_ms), None
        if called.verdict:
            return called.verdict, None
        try:
            return Taken(), self._accept(called)
        except Refusal as refusal:
            return refusal, None

    def taken(self, key: Key) -> Known | None:
        """Return what became of a send that was taken; None: its record was not read back yet."""
        sent = self._owner.sent.find(key)
        return Known(sent.message_id, sent.at) if sent else None

    def _is_new(self, called: Called, latest_ms: int) -> bool:
        """Return whether this owner would know the send if it had been accepted before.

        Nobody accepts a send that says it is from more than a minute ahead of their clock
        (`latest_ms`), which may be ahead of the log's. So the record of an earlier try is not much
        older in the log than that try.
        """
        sent = self._owner.sent
        if sent.covers_place(called.absent_up_to):
            return True
        since_ms = min(called.since_ms, latest_ms)
        return 0 < sent.floor.clock_ms < since_ms - IDS_AHEAD_MAX_MS
