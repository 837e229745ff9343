"""One device of a user: its position, its unanswered sends and what it has shown, and how it
answers the server.

This module is pure: a transport feeds the server's items in, in order, and writes the frames that
come out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format

from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.log.ids import ChatId, is_group, participants, partition_in
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

_FRAME_BYTES = 60 << 10  # below the server's limit for a frame
_SEND_HEAD_BYTES = 4  # tag and length of a send in its frame


@dataclass(slots=True, frozen=True)
class Received:
    """An event of another user, or of another device of this user. Each comes exactly once."""

    event: Event


@dataclass(slots=True, frozen=True)
class Sent:
    """A send of this device is accepted for good, under this id."""

    send: Send
    message_id: int


@dataclass(slots=True, frozen=True)
class Rejected:
    """A send of this device will never be accepted as it is. The device has to reconnect before it
    sends on, also if it knows of no such send any more: it may have got it as an event before.
    """

    send: Send | None
    error: Error


@dataclass(slots=True, frozen=True)
class CaughtUp:
    """The device has everything up to now."""


@dataclass(slots=True, frozen=True)
class Gapped:
    """The log no longer has everything that was missed. Fill the gap from the history before you
    feed the next item.
    """

    gap: Gap


@dataclass(slots=True, frozen=True)
class TokenExpiring:
    """The token expires soon. Get a new one."""

    expires_in_ms: int


@dataclass(slots=True, frozen=True)
class Disconnected:
    """The server has ended the stream. `address` is where to go over gRPC, `websocket` over
    WebSocket; empty if the connect server has to be asked.
    """

    error: Error
    address: str
    websocket: str = ""


Happening = Received | Sent | Rejected | CaughtUp | Gapped | TokenExpiring | Disconnected


class Device:
    """One device. Store `snapshot()` in one piece: that each event is shown once depends on its
    parts belonging together.

    The events of one sender in one chat come in the order of their ids. So one mark per chat and
    sender says what was shown, whether it came from the stream or from the history. In a group, all
    events of its home come in that order.
    """

    def __init__(
        self,
        user_id: str,
        partition_of: Callable[[str, int], int] = partition_of,
        *,
        device_id: str = "",
    ) -> None:
        """Make a device that has seen nothing yet. `partition_of` returns the partition of a user
        or a group by their id, given how many partitions there are. `device_id` has to differ from
        that of the user's other devices, and to stay the same as long as the snapshot is kept.
        """
        self.user_id = user_id
        self.device_id = device_id
        self._partition_of = partition_of
        self.position: Position | None = None
        self.outbox: dict[str, Send] = {}  # unanswered sends by client message id, oldest first
        self.shown: dict[str, dict[str, int]] = {}  # chat id -> user id -> highest id shown
        # Partition of senders -> the highest id from before this device; None: not welcomed yet.
        self.since: dict[int, int] | None = None
        self.partition_count = 1  # of the log that `since` is about
        self.caught_up = False
        self.gap: Gap | None = None
        self._unwritten: list[str] = []
        self._welcome: Welcome | None = None

    # -- towards the server

    def hello(self, device: str) -> ClientFrame:
        """Return the first frame of a new connection."""
        self.caught_up, self.gap, self._unwritten, self._welcome = False, None, [], None
        hello = Hello(position=self.position, device=device, device_id=self.device_id)
        return ClientFrame(hello=hello)

    def submit(self, send: Send) -> None:
        """Take on a send. It is written once the session has caught up, and again on every new
        connection until it is answered.
        """
        marks = self.shown.get(send.chat_id, {})
        send.seen_id = max(send.seen_id, *marks.values(), 0)
        self.outbox[send.client_message_id] = send
        if self.caught_up:
            self._unwritten.append(send.client_message_id)

    def outgoing(self, sends_max: int) -> ClientFrame | None:
        """Return the next frame of at most `sends_max` sends to write now, or None if there is
        none.
        """
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
        """Take in the next item of the stream. Fill the gap first if `gap` is set."""
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
            return Rejected(send, item.refused.error)
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
        """Return the client message ids to send again after catching up: all that are unanswered,
        in order.
        """
        return list(self.outbox)

    def _move(self, offset: int, clock_ms: int) -> None:
        assert self.position is not None, "a server welcomes before it delivers"
        if offset >= self.position.offset:
            self.position.offset, self.position.clock_ms = offset, clock_ms

    def show(self, event: Event) -> Happening | None:
        """Take in an event from the stream or from the history. Returns None if it was shown
        before.
        """
        if event.user_id == self.user_id and event.client_message_id in self.outbox:
            return self.answered(event.client_message_id, event.id)
        marks = self._marks(event.chat_id, event.id)
        if event.id <= marks.get(event.user_id, 0):
            return None
        marks[event.user_id] = event.id
        return Received(event)

    def answered(self, client_message_id: str, id_: int) -> Happening | None:
        """Take in that a send was accepted as message `id_`. Returns None if that was known."""
        send = self.outbox.pop(client_message_id, None)
        if send is None:
            return None
        marks = self._marks(send.chat_id, id_)
        marks[self.user_id] = max(marks.get(self.user_id, 0), id_)
        return Sent(send, id_)

    def _marks(self, chat_id: str, id_: int) -> dict[str, int]:
        """Return the marks for the events that come in one order with this one. What a user sets
        for a group is not of its home, so the rest of the group may come later with lower ids.
        """
        partition = partition_in(id_)
        is_apart = is_group(chat_id) and partition != self._partition(chat_id)
        return self.shown.setdefault(f"{chat_id} {partition}" if is_apart else chat_id, {})

    # -- gaps

    def shown_up_to(self, chat_id: str) -> int:
        """Return a message id such that the chat's history above it, oldest first, has everything
        that this device has not shown.
        """
        since, marks = self.since or {}, self.shown.get(chat_id, {})
        if is_group(chat_id):  # all of it comes in the order of ids
            return max(*marks.values(), since.get(self._partition(chat_id), 0), 0)
        return min(
            max(marks.get(user_id, 0), since.get(self._partition(user_id), 0))
            for user_id in participants(ChatId(chat_id))
        )

    def _partition(self, name: str) -> int:
        return self._partition_of(name, self.partition_count)

    def fill(self, event: Event) -> Happening | None:
        """Take in an event from the history while a gap is filled. Returns None if it was shown
        before, if it is from before this device, or if the stream will bring it: the history may
        have only some of those.
        """
        assert self.gap is not None and self._welcome is not None
        partition, welcome = partition_in(event.id), self._welcome
        since = (self.since or {}).get(partition, 0)
        up_to = max(welcome.up_to.get(partition, 0), welcome.log_began_id - 1)
        return self.show(event) if since < event.id <= up_to else None

    def filled(self) -> None:
        """Go on with the stream, after the history was read with the gap's token and shown."""
        assert self.gap is not None and self._welcome is not None
        self.position = Position()
        self.position.CopyFrom(self._welcome.position)
        self.gap = None

    # -- keeping it

    def snapshot(self) -> dict[str, Any]:
        """Return all that has to survive a restart, as an object for JSON."""
        return {
            "user_id": self.user_id,
            "device_id": self.device_id,
            "position": json_format.MessageToDict(self.position) if self.position else None,
            "outbox": [json_format.MessageToDict(send) for send in self.outbox.values()],
            "shown": {
                chat_id: {user_id: str(id_) for user_id, id_ in marks.items()}
                for chat_id, marks in self.shown.items()
            },
            "since": {str(p): str(id_) for p, id_ in (self.since or {}).items()},
            "partition_count": self.partition_count,
        }

    @classmethod
    def restored(
        cls, snapshot: dict[str, Any], partition_of: Callable[[str, int], int] = partition_of
    ) -> Device:
        """Return the device that this snapshot was taken of."""
        device = cls(snapshot["user_id"], partition_of, device_id=snapshot.get("device_id", ""))
        if snapshot["position"]:
            device.position = json_format.ParseDict(snapshot["position"], Position())
        for send in (json_format.ParseDict(each, Send()) for each in snapshot["outbox"]):
            device.outbox[send.client_message_id] = send
        for chat_id, marks in snapshot["shown"].items():
            device.shown[chat_id] = {user_id: int(id_) for user_id, id_ in marks.items()}
        if device.position:
            device.since = {int(p): int(id_) for p, id_ in snapshot.get("since", {}).items()}
            device.partition_count = snapshot.get("partition_count", 1)
        return device


def _disconnected(item: Disconnect) -> Disconnected:
    return Disconnected(item.error, item.address, item.websocket)
