"""What the owner of a sender's partition and the owner of a group's home say to each other.

Everything that happens in a group is accepted in its home partition. So the owner of the sender's
partition asks the home's owner to accept what its clients send.
"""

from __future__ import annotations

from typing import NamedTuple

from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import UserId
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.v1.messaging_pb2 import Send


class AskedSend(NamedTuple):
    """A send of which the asker has no copy, and why it is to be refused if it was not accepted
    before.
    """

    user_id: UserId
    send: Send
    verdict: Refusal | None = None


class Asked(NamedTuple):
    """A request to accept sends, in order. `home_epoch` is that of the owner who is asked, and
    `high` is up to where in its log the asker has read all that concerns its partition.
    """

    partition: int  # that asks
    epoch: Place  # of the owner that asks
    number: int  # of its requests to this home, which grow
    home_epoch: Place
    high: Place
    sends: tuple[AskedSend, ...]


class Taken(NamedTuple):
    """A send is in the log, or on its way there. Its copy is the answer to its client."""

    def __bool__(self) -> bool:
        return True  # unlike other empty tuples


class Known(NamedTuple):
    """A send was accepted before, as the origin at `at` in the home's log."""

    message_id: int
    at: Place


class Left(NamedTuple):
    """A send was not looked at, since one of its user before it was refused."""


Result = Taken | Known | Refusal | Left


class Answer(NamedTuple):
    """What has become of each send, in order; none if the request was for another owner, or if it
    was overtaken by a later one. `epoch` is that of the home's owner, and `last` the last origin
    there that concerns the asking partition.
    """

    epoch: Place
    results: tuple[Result, ...]
    last: Place = NOWHERE

    @property
    def refuses(self) -> bool:
        """Whether a send was refused. Such an answer may be given only by an owner that has read
        all that was in its log when it decided, and was not superseded there: what it refuses, a
        later owner may have accepted.
        """
        return any(isinstance(each, Refusal) for each in self.results)
