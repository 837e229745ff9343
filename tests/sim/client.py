"""The thinnest shell round the project's own `Device`: its connections, and the record of what it
saw.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cecochat.client.events import event_of, event_of_send
from cecochat.client.timeline import Timeline
from cecochat.domain.device.device import (
    CaughtUp,
    Device,
    Disconnected,
    Happening,
    Received,
    Rejected,
    Sent,
)
from cecochat.domain.log.ids import ChatId, participants
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import Send, ServerFrame, ServerItem
from tests.sim.connection import Connection
from tests.sim.evidence import DeviceRecord, Range, Resumed, SendRecord, Shown

if TYPE_CHECKING:
    from tests.sim.world import World


PAGE = 1


@dataclass
class Filling:
    """Where a device stands in filling a gap: chat by chat, page by page."""

    chat: str = ""
    after: int = 0
    more: bool = False


class Client:
    """A device, the connection that it has, and the record of what it saw."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.user = name[0]
        self.device = Device(self.user, self._place, device_id=name)
        self.filling: Filling | None = None
        self.read: dict[str, int] = {}  # chat -> the highest id looked at in the history
        self.connection: Connection | None = None
        self.connections: list[Connection] = []
        self.record = DeviceRecord(name, self.user)
        self.timeline = Timeline()
        self.messages: list[Shown] = []  # of what was shown, what is no change

    def _place(self, user: str, count: int) -> int:
        return self.world.place(user)

    # -- towards the server

    def connect(self, node: int) -> None:
        """Open a stream and say hello."""
        self.filling = None
        self.record.filling.clear()
        self.connection = Connection(self, node)
        self.connections.append(self.connection)
        position = self.device.position
        self.record.wire.append(Resumed(position.offset if position else -1))
        self.connection.to_server.append(self.device.hello(self.name))

    def cut(self) -> None:
        """Give the stream up. What was written may still be read by the server."""
        assert self.connection is not None
        self.connection.client_open = False
        self.connection.to_device.clear()
        self.connection = None

    def send(self, chat: str, number: int, body: Send) -> None:
        """A person writes a message, or changes one, or who is in the group."""
        read = self.read.get(chat, 0)
        seen = max(self.record.highest_shown(chat), read)
        self.record.sends.append(SendRecord(number, chat, seen))
        send = Send(client_message_id=str(number), chat_id=chat, seen_id=read)
        send.MergeFrom(body)
        self.device.submit(send)
        self.flush()

    def flush(self) -> None:
        """Write what the device wants to be written."""
        if self.connection:
            while frame := self.device.outgoing(2):
                self.connection.to_server.append(frame)

    def reload(self) -> None:
        """The application is killed and started again from what it kept."""
        if self.connection:
            self.cut()
        self.device = Device.restored(json.loads(json.dumps(self.device.snapshot())), self._place)

    # -- from the server

    def take(self, limit_bytes: int) -> bool:
        """Read what the network has, item by item; whether there was anything."""
        connection = self.connection
        if connection is None or self.device.gap:
            return False
        if not connection.to_device and connection.session:
            frame = b"".join(connection.session.take(limit_bytes))
            connection.to_device.extend(ServerFrame.FromString(frame).items)
        if not connection.to_device:
            if connection.server_open:
                return False
            self.cut()
        while self.connection and connection.to_device and not self.device.gap:
            self.receive(connection.to_device.popleft())
        return True

    def receive(self, item: ServerItem) -> None:
        """One item of the stream."""
        self.record.on_wire(item, self.world.sends)
        happening = self.device.receive(item)
        match happening:
            case CaughtUp():
                self.flush()
            case Rejected():
                if happening.send:
                    self.record.rejected.add(int(happening.send.client_message_id))
                self.rejected()
            case Disconnected():
                self.record.sent_away.append(happening.error.message)
                self.cut()
            case _:
                self.surface(happening)

    def rejected(self) -> None:
        """After a refusal the session takes no more: come back."""
        self.cut()

    def surface(self, happening: Happening | None) -> None:
        """Show a person what the device says is new."""
        match happening:
            case Received(event):
                self.show(event)
            case Sent(send, message_id):
                self.show(event_of_send(self.user, send, message_id))

    def show(self, event: Event) -> None:
        """A person sees an event, and what it does to the messages that are there."""
        shown = Shown(event.user_id, int(event.client_message_id), event.chat_id, event.id)
        self.record.shown.append(shown)
        if event.HasField("message") and not event.message.expired:
            self.messages.append(shown)
        if change := event_of(event):
            self.timeline.add(change)

    def look(self, page: list[Event]) -> None:
        """A person sees messages of a page as they are now."""
        for event in page:
            if event.HasField("message"):
                self.timeline.add(self.world.history.message(self.user, event))

    def fill(self) -> None:
        """Read a page of the history, which holds all that the gap's token asks for: the next of
        this chat, or the first of the next chat.
        """
        history, filling = self.world.history, self.filling
        if filling is None:
            filling = self.filling = Filling()
        if not filling.more:
            chats = history.chats(self.user, filling.chat)
            if not chats:
                self.filling = None
                self.device.filled()
                self.record.filled(history.ranges())
                return
            (filling.chat,) = chats
            filling.after = self.device.shown_up_to(filling.chat)
        events, filling.more = history.page(self.user, filling.chat, filling.after, PAGE)
        self.record.told_of(filling.chat, self._ranges(filling.chat, filling.after))
        for event in events:
            filling.after = event.id
            self.surface(self.fills(event) if event.WhichOneof("body") else self.misses(event))

    def _ranges(self, chat: str, after: int) -> list[Range]:
        """What the page of a chat may lack: of the partitions where those in it live."""
        homes = (
            {self.world.place(user) for user in participants(ChatId(chat))}
            if chat.startswith("d:")
            else set()
        )
        ranges = self.world.history.ranges()
        return [
            each
            for each in ranges
            if each.last_id > after and (not homes or each.partition in homes)
        ]

    def misses(self, event: Event) -> Happening | None:
        """A message that the history lacks: news only where it answers an own send."""
        self.record.told.add(event.id)
        happening = self.fills(event)
        return happening if isinstance(happening, Sent) else None

    def fills(self, event: Event) -> Happening | None:
        """What the device says to an event of a gap."""
        return self.device.fill(event)
