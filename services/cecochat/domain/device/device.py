"""What one device of a user keeps together, and how it answers the server: position, unanswered
sends, what it has shown.

Pure: a transport feeds it the server's items in order and writes the frames it hands out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format

from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.log.ids import ChatId, participants, partition_in
from cecochat.v1.errors_pb2 import Error
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import (
    CaughtUp as CaughtUpItem,
)
from cecochat.v1.messaging_pb2 import (
    ClientFrame,
    Delivered,
    Disconnect,
    Gap,
    Hello,
    Position,
    Send,
    ServerItem,
    Welcome,
)

_FRAME_BYTES = 60 << 10  # under the server's frame limit
_SEND_HEAD_BYTES = 4  # tag and length of a send in its frame


@dataclass(slots=True, frozen=True)
class Received:
    """An event of another user, or of another device of this user; each exactly once."""

    event: Event


@dataclass(slots=True, frozen=True)
class Sent:
    """A send of this device is accepted for good, under this id."""

    send: Send
    message_id: int


@dataclass(slots=True, frozen=True)
class Rejected:
    """A send of this device will never be accepted as it is. The device has to reconnect before it
    sends on.
    """

    send: Send
    error: Error


@dataclass(slots=True, frozen=True)
class CaughtUp:
    """Nothing is missing up to now."""


@dataclass(slots=True, frozen=True)
class Gapped:
    """The log no longer has all that was missed: fill it from the history before feeding the next
    item.
    """

    gap: Gap


@dataclass(slots=True, frozen=True)
class TokenExpiring:
    """The token ends soon: renew it."""

    expires_in_ms: int


@dataclass(slots=True, frozen=True)
class Disconnected:
    """The server ends the stream."""

    error: Error
    address: str


Happening = Received | Sent | Rejected | CaughtUp | Gapped | TokenExpiring | Disconnected


class Device:
    """One device. Keep `snapshot()` in one piece: what makes "once" true is that its parts belong
    together.

    The events of one sender in one chat come in the order of their ids, so one mark a sender and
    chat tells what was shown, whichever way it came.
    """

    def __init__(
        self, user_id: str, place: Callable[[str, int], int] = partition_of, *, device_id: str = ""
    ) -> None:
        """`place`: the partition of a user among so many. `device_id`: unlike that of any other
        device of the user, and the same for as long as its snapshot is kept.
        """
        self.user_id = user_id
        self.device_id = device_id
        self._place = place
        self.position: Position | None = None
        self.outbox: dict[str, Send] = {}  # unanswered sends by client message id, oldest first
        self.shown: dict[str, dict[str, int]] = {}  # chat -> sender -> highest id shown
        # Partition of senders -> the highest id from before this device; None: not told yet.
        self.since: dict[int, int] | None = None
        self.partition_count = 1  # of the log that `since` comes from
        self.caught_up = False
        self.gap: Gap | None = None
        self._unwritten: list[str] = []
        self._welcome: Welcome | None = None

    # -- towards the server

    def hello(self, device: str) -> ClientFrame:
        """The first frame of a new connection."""
        self.caught_up, self.gap, self._unwritten, self._welcome = False, None, [], None
        hello = Hello(position=self.position, device=device, device_id=self.device_id)
        return ClientFrame(hello=hello)

    def submit(self, send: Send) -> None:
        """Take on a send; it is written when the session is caught up, and again on every
        connection until answered.
        """
        marks = self.shown.get(send.chat_id, {})
        send.seen_id = max(send.seen_id, *marks.values(), 0)
        self.outbox[send.client_message_id] = send
        if self.caught_up:
            self._unwritten.append(send.client_message_id)

    def outgoing(self, sends_max: int) -> ClientFrame | None:
        """The next frame of sends to write now, in order; None: nothing."""
        frame = ClientFrame(offset=self.position.offset if self.position else -1)
        size = 0
        while self._unwritten and len(frame.sends) < sends_max:
            if send := self.outbox.get(self._unwritten[0]):
                size += send.ByteSize() + _SEND_HEAD_BYTES
                if frame.sends and size > _FRAME_BYTES:
                    break
                frame.sends.append(send)
            self._unwritten.pop(0)
        return frame if frame.sends else None

    # -- from the server

    def receive(self, item: ServerItem) -> Happening | None:
        """The next item of the stream; while `gap` is set, none may be fed."""
        assert self.gap is None, "fill the gap first"
        kind = item.WhichOneof("item")
        if kind == "delivered":
            return self._delivered(item.delivered)
        if kind == "ack":
            self._move(item.ack.offset, item.ack.clock_ms)
            return self.answered(item.ack.client_message_id, item.ack.message_id)
        if kind == "caught_up":
            return self._caught_up(item.caught_up)
        if kind == "welcome":
            self._welcomed(item.welcome)
        elif kind == "gap":
            self.gap = item.gap
            return Gapped(item.gap)
        elif kind == "refused":
            send = self.outbox.pop(item.refused.client_message_id, None)
            return Rejected(send, item.refused.error) if send else None
        elif kind == "token_expiring":
            return TokenExpiring(item.token_expiring.expires_in_ms)
        elif kind == "disconnect":
            return _disconnected(item.disconnect)
        return None

    def _welcomed(self, welcome: Welcome) -> None:
        self._welcome = welcome
        if self.position is None:
            self.position = Position()
            self.position.CopyFrom(welcome.position)
        if self.since is None:
            self.since = dict(welcome.up_to)
            self.partition_count = welcome.partition_count or 1

    def _delivered(self, delivered: Delivered) -> Happening | None:
        self._move(delivered.offset, delivered.clock_ms)
        return self.show(delivered.event)

    def _caught_up(self, item: CaughtUpItem) -> Happening | None:
        self._move(item.offset, item.clock_ms)
        if self.caught_up:
            return None
        self.caught_up = True
        self._unwritten = self.resends()
        return CaughtUp()

    def resends(self) -> list[str]:
        """What to send again after catching up: all that is unanswered, in order."""
        return list(self.outbox)

    def _move(self, offset: int, clock_ms: int) -> None:
        assert self.position is not None, "a server welcomes before it delivers"
        if offset >= self.position.offset:
            self.position.offset, self.position.clock_ms = offset, clock_ms

    def show(self, event: Event) -> Happening | None:
        """An event, from the stream or from the history; None where it was shown before."""
        if event.user_id == self.user_id and event.client_message_id in self.outbox:
            return self.answered(event.client_message_id, event.id)
        marks = self.shown.setdefault(event.chat_id, {})
        if event.id <= marks.get(event.user_id, 0):
            return None
        marks[event.user_id] = event.id
        return Received(event)

    def answered(self, client_message_id: str, id_: int) -> Happening | None:
        """A send is in the log; None where that was known."""
        send = self.outbox.pop(client_message_id, None)
        if send is None:
            return None
        marks = self.shown.setdefault(send.chat_id, {})
        marks[self.user_id] = max(marks.get(self.user_id, 0), id_)
        return Sent(send, id_)

    # -- gaps

    def shown_up_to(self, chat_id: str) -> int:
        """Read that chat's history above this id, oldest first, to have all that this device has
        not shown.
        """
        since, marks = self.since or {}, self.shown.get(chat_id, {})
        if not chat_id.startswith("d:"):
            return min(since.values(), default=0)
        users = participants(ChatId(chat_id))
        return min(max(marks.get(user, 0), since.get(self._home(user), 0)) for user in users)

    def _home(self, user: str) -> int:
        return self._place(user, self.partition_count)

    def fill(self, event: Event) -> Happening | None:
        """An event that the history had, while the gap is filled. None where it was shown before,
        is from before this device, or comes with the stream: of that, the history may have a part.
        """
        assert self.gap is not None and self._welcome is not None
        partition, welcome = partition_in(event.id), self._welcome
        since = (self.since or {}).get(partition, 0)
        up_to = max(welcome.up_to.get(partition, 0), welcome.log_began_id - 1)
        return self.show(event) if since < event.id <= up_to else None

    def filled(self) -> None:
        """The history was read with the gap's token and shown: go on with the stream."""
        assert self.gap is not None and self._welcome is not None
        self.position = Position()
        self.position.CopyFrom(self._welcome.position)
        self.gap = None

    # -- keeping it

    def snapshot(self) -> dict[str, Any]:
        """All that has to survive a restart, as JSON."""
        return {
            "user_id": self.user_id,
            "device_id": self.device_id,
            "position": json_format.MessageToDict(self.position) if self.position else None,
            "outbox": [json_format.MessageToDict(send) for send in self.outbox.values()],
            "shown": {
                chat: {u: str(i) for u, i in marks.items()} for chat, marks in self.shown.items()
            },
            "since": {str(p): str(id_) for p, id_ in (self.since or {}).items()},
            "partition_count": self.partition_count,
        }

    @classmethod
    def restored(
        cls, kept: dict[str, Any], place: Callable[[str, int], int] = partition_of
    ) -> Device:
        """The device of a snapshot."""
        device = cls(kept["user_id"], place, device_id=kept.get("device_id", ""))
        if kept["position"]:
            device.position = json_format.ParseDict(kept["position"], Position())
        for send in (json_format.ParseDict(each, Send()) for each in kept["outbox"]):
            device.outbox[send.client_message_id] = send
        for chat, marks in kept["shown"].items():
            device.shown[chat] = {user: int(id_) for user, id_ in marks.items()}
        if device.position:
            device.since = {int(p): int(id_) for p, id_ in kept.get("since", {}).items()}
            device.partition_count = kept.get("partition_count", 1)
        return device


def _disconnected(item: Disconnect) -> Disconnected:
    return Disconnected(item.error, item.address)
