"""Which sends were accepted lately, so that a repeat is answered like the first. How much is
remembered is a matter of tuning, not of correctness.
"""

from __future__ import annotations

from typing import NamedTuple

from cecochat.domain.log.ids import UserId
from cecochat.domain.log.limits import OwnerLimits
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import Send

Key = tuple[UserId, str]
"""User id and client message id."""


class Accepted(NamedTuple):
    """An accepted send: its message id, where its record is, when that was read (ms since 1970),
    and a number that stands for its content. The record of a send that the home of a group has
    accepted elsewhere is its copy; `home` is where its origin is.
    """

    message_id: int
    at: Place
    read_at_ms: int
    content: int
    home: Place = NOWHERE


def content_of(message: Send | Event) -> int:
    """Return a number that is the same for two sends with the same chat and body, and for the
    events made of them. It is valid in this process only. What a change of a group comes to is not
    what was asked for, so one change is as good as another.
    """
    body = message.WhichOneof("body")
    is_settled = body in (None, "membership")
    value = b"" if is_settled else getattr(message, str(body)).SerializeToString()
    return hash((message.chat_id, body, value))


class SentTable:
    """Accepted sends by key, oldest first. It has every accepted send above the place `floor`.

    Forgetting takes two steps, so that sessions can be told in between. `expire` forgets what the
    last call announced, and announces what it will forget next. A client that has been told an
    announced offset can go on sending. One that has not is told to catch up, but only once the
    table no longer covers its position.
    """

    def __init__(self, floor: Place, limits: OwnerLimits) -> None:
        self.floor = floor
        self.announced = floor
        self._limits = limits
        self._sent: dict[Key, Accepted] = {}

    def __len__(self) -> int:
        return len(self._sent)

    def find(self, key: Key) -> Accepted | None:
        """Return the accepted send of that key, if it is still known."""
        return self._sent.get(key)

    def covers(self, position: int) -> bool:
        """Return whether this table still has every accepted send that a client at `position` does
        not know to be accepted.
        """
        return position >= self.floor.offset

    def covers_place(self, seen: Place) -> bool:
        """The same for a client that has seen this log up to a place in it, wherever it was told of
        that.
        """
        return not self.floor.lies_above(seen)

    def add(self, key: Key, accepted: Accepted) -> None:
        """Add the send of a valid origin that was read. If the key is here already, because an
        owner had forgotten it and accepted the send again, it moves to the end: the table is in the
        order of offsets.
        """
        self._sent.pop(key, None)
        self._sent[key] = accepted

    def expire(self, now_ms: int) -> int:
        """Forget what was announced, then announce what is too old or too much. Returns the
        announced offset.
        """
        self._forget_announced()
        surplus = len(self._sent) - self._limits.resend_entries_max
        for index, accepted in enumerate(self._sent.values()):
            if index >= surplus and accepted.read_at_ms > now_ms - self._limits.resend_window_ms:
                break
            self.announced = accepted.at
        return self.announced.offset

    def _forget_announced(self) -> None:
        gone = []
        for key, accepted in self._sent.items():
            if accepted.at.offset > self.announced.offset:
                break
            gone.append(key)
        for key in gone:
            del self._sent[key]
        self.floor = self.announced
