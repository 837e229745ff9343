"""Which sends were accepted lately, so that a repeat joins the first. How much it remembers is
tuning, not correctness.
"""

from __future__ import annotations

from typing import NamedTuple

from cecochat.domain.log.limits import OwnerLimits
from cecochat.domain.log.place import Place
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import Send

Key = tuple[str, str]
"""(user id, client message id)."""


class Accepted(NamedTuple):
    """An accepted send."""

    message_id: int
    at: Place
    read_at_ms: int
    content: int


def content_of(said: Send | Event) -> int:
    """What a send, or the event made of it, says and where: the same content, the same number. It
    means something in this process only.
    """
    body = said.WhichOneof("body")
    return hash((said.chat_id, body, getattr(said, body).SerializeToString() if body else b""))


class SentTable:
    """Accepted sends by key, oldest first; above `floor` it knows every one.

    Forgetting takes two steps, so that sessions can be told in between: `expire` forgets what the
    step before announced and announces what comes next. A client that has heard of an announced
    offset can still send; one that has not is told to catch up only when the table really no longer
    covers what it knows.
    """

    def __init__(self, floor: int, limits: OwnerLimits) -> None:
        self.floor = floor
        self.announced = floor
        self._limits = limits
        self._sent: dict[Key, Accepted] = {}

    def __len__(self) -> int:
        return len(self._sent)

    def find(self, key: Key) -> Accepted | None:
        """The accepted send of that key, if it is still known."""
        return self._sent.get(key)

    def covers(self, position: int) -> bool:
        """Whether a client that knows everything up to `position` can have no accepted send that is
        forgotten here.
        """
        return position >= self.floor

    def add(self, key: Key, accepted: Accepted) -> None:
        """A valid origin was read. A key that is here already, since whoever accepted it again had
        forgotten it, moves to its new place: the table is in the order of offsets.
        """
        self._sent.pop(key, None)
        self._sent[key] = accepted

    def expire(self, now_ms: int) -> int:
        """Forget what was announced, announce what is older than the window or too much; returns
        the announced offset.
        """
        self._forget_announced()
        surplus = len(self._sent) - self._limits.resend_entries_max
        for index, accepted in enumerate(self._sent.values()):
            if index >= surplus and accepted.read_at_ms > now_ms - self._limits.resend_window_ms:
                break
            self.announced = accepted.at.offset
        return self.announced

    def _forget_announced(self) -> None:
        gone = []
        for key, accepted in self._sent.items():
            if accepted.at.offset > self.announced:
                break
            gone.append(key)
        for key in gone:
            del self._sent[key]
        self.floor = self.announced
