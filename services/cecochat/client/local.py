"""The device of this process: what has arrived, which sends are unanswered, and what to write."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

from cecochat.client.errors import ChatError, Closed, SendRejected, reused_id
from cecochat.client.events import (
    CaughtUp,
    Event,
    Message,
    Rejected,
    Sent,
    event_of,
    event_of_send,
    message_of,
)
from cecochat.client.inbox import Step
from cecochat.client.progress import Progress
from cecochat.client.receipts import Marks
from cecochat.client.signals import LocalSignals
from cecochat.domain.device import device as domain
from cecochat.domain.device.device import Device
from cecochat.domain.log.ids import ChatId, is_group, partition_in
from cecochat.domain.log.place import Place
from cecochat.v1 import events_pb2
from cecochat.v1.messaging_pb2 import (
    Ack,
    ClientFrame,
    Delivered,
    ReadToken,
    Send,
    ServerItem,
    Welcome,
)


class LocalDevice:
    """The state of a client, without any I/O.

    A stream feeds it with items and writes its frames; `to_write` is set when there are some.
    """

    def __init__(
        self,
        device: Device,
        *,
        listen: bool,
        receipts: bool,
        buffer_max_bytes: int,
        invisible: bool = False,
    ) -> None:
        self.progress = Progress(device, listen=listen, buffer_max_bytes=buffer_max_bytes)
        self.marks = Marks()
        self.to_write = asyncio.Event()
        self.signals = LocalSignals(invisible, self.to_write.set)
        self.to_keep = self.progress.to_keep
        self.to_tell = asyncio.Event()  # set when there are receipts to send
        self.all_told = asyncio.Event()
        self.all_told.set()
        self.welcome = Welcome()
        self.ended = False
        self.group_changes: dict[ChatId, int] = {}  # the last that came of each group
        self._receipts = receipts
        self._earlier = frozenset(device.outbox)  # the sends that an earlier run left unanswered
        self._answers: dict[str, asyncio.Future[int]] = {}
        self._to_read: dict[int, Place] = {}  # partition -> up to where the history has to be
        self._renewed_token = ""

    @property
    def user_id(self) -> str:
        """The id of the user that this device belongs to."""
        return self.progress.live.user_id

    # -- towards the server

    def submit(self, send: Send) -> asyncio.Future[int]:
        """Queue a send, unless it is queued already. Return a future with its message id.

        Raises `SendRejected` (`reused_id`) if what is queued under its id differs.
        """
        id_ = send.client_message_id
        queued = self.progress.live.outbox.get(id_)
        if queued and event_of_send("", queued, 0) != event_of_send("", send, 0):
            raise reused_id(id_)
        if queued is None:
            self.progress.submit(send)
            self.signals.sent(send.chat_id)
            self.to_write.set()
        if id_ not in self._answers or self._answers[id_].cancelled():
            self._answers[id_] = asyncio.get_running_loop().create_future()
        return self._answers[id_]

    def tell_marks(self) -> None:
        """Queue the receipts that are due."""
        for chat_id, mark in self.marks.take().items():
            self.progress.submit(Send(client_message_id=uuid4().hex, chat_id=chat_id, receipt=mark))
            self.to_write.set()
        self._note_told()

    def renew(self, token: str) -> None:
        """Have the server told about a new token."""
        self._renewed_token = token
        self.to_write.set()

    def hello(self, label: str) -> ClientFrame:
        """Return the first frame of a new connection."""
        if self.progress.inbox.drained.is_set():
            self.progress.back_to_dealt()
        frame: ClientFrame = self._step(lambda device: device.hello(label))
        return self.signals.hello(frame)

    def next_frame(self) -> ClientFrame | None:
        """Return the next frame to write now, or None if there is nothing to write."""
        live = self.progress.live
        if token := self._renewed_token:
            self._renewed_token = ""
            return ClientFrame(
                offset=live.position.offset if live.position else -1, renewed_token=token
            )
        if live.caught_up and (frame := self.signals.outgoing()):
            return frame
        return live.outgoing(max(self.welcome.limits.sends_per_frame_max, 1))

    # -- from the server

    def receive(self, item: ServerItem) -> domain.Happening | None:
        """Take the next item of the stream. Return what it means for the stream, if anything."""
        self.signals.receive(item)
        if item.HasField("signal") or item.HasField("signal_refused"):
            return None  # no part of the device's state, so it waits behind nothing
        if item.HasField("welcome"):
            self._welcomed(item.welcome)
        elif item.HasField("ack"):
            self._note_accepted(item.ack)
        elif item.HasField("delivered") and item.delivered.event.user_id == self.user_id:
            self._note_accepted(item.delivered)
        happening: domain.Happening | None = self._step(
            lambda device: device.receive(item), item.ByteSize()
        )
        return happening

    def fill(self, event: events_pb2.Event) -> None:
        """Take an event from the history, while a gap is being filled."""
        self._step(lambda device: device.fill(event), event.ByteSize())

    def filled(self) -> None:
        """Note that the gap has been filled."""
        self._step(Device.filled)

    def tell(self, event: Event) -> None:
        """Tell the application about something that does not change the device."""
        self.progress.told(None, event)

    def _step(self, step: Step, size: int = 0) -> Any:
        result = step(self.progress.live)
        self.progress.told(step, self._event(result), size)
        return result

    def _event(self, happening: Any) -> Event | None:
        match happening:
            case domain.Received(event) if event.message.expired or event.edit.expired:
                return None  # there was something, which is not kept any more
            case domain.Received(event):
                if event.HasField("membership"):
                    self.group_changes[ChatId(event.chat_id)] = event.id
                return event_of(event)
            case domain.Sent(send, message_id):
                return self._sent(send, message_id)
            case domain.Rejected(send, error) if send:
                return self._rejected(send, SendRejected(send.client_message_id, error))
            case domain.CaughtUp():
                self.signals.begin(self.welcome)
                self.to_write.set()
                return CaughtUp(self.welcome.server_id)
        return None

    def _sent(self, send: Send, message_id: int) -> Event | None:
        if send.HasField("receipt"):
            self._receipt_answered(ChatId(send.chat_id))
            return None
        if answer := self._answers.pop(send.client_message_id, None):
            if not answer.done():
                answer.set_result(message_id)
            return None
        if send.client_message_id not in self._earlier:
            return None  # its future was answered before this device went back
        event = event_of_send(self.user_id, send, message_id)
        if event.HasField("message"):
            return Sent(message_of(event))
        return event_of(event)

    def _rejected(self, send: Send, error: ChatError) -> Event | None:
        self.progress.answered(send.client_message_id)
        if send.HasField("receipt"):
            self._receipt_answered(ChatId(send.chat_id))
            return None
        if answer := self._answers.pop(send.client_message_id, None):
            if not answer.done():
                answer.set_exception(error)
            return None
        text = send.edit.text or send.message.text
        return Rejected(send.chat_id, send.client_message_id, text, error)

    # -- towards the application

    async def next_event(self) -> Event | None:
        """Return the next event, or None at the end. The one before counts as handled."""
        self.deal()
        return await self.progress.next()

    def deal(self) -> None:
        """Mark the event that was handed out last as handled, and have its sender told."""
        event = self.progress.deal()
        if isinstance(event, Message) and event.user_id != self.user_id and self._receipts:
            self._note_delivered(event)

    def _note_delivered(self, message: Message) -> None:
        """In a group nobody is told: each message would be followed by as many receipts as it has
        members, and each of these goes to all of them.
        """
        if not is_group(message.chat_id):
            self.marks.delivered(ChatId(message.chat_id), message.id)
            self._marked()

    def read_up_to(self, chat_id: ChatId, message_id: int) -> None:
        """Note that a person has read a chat up to a message."""
        self.marks.read(chat_id, message_id)
        self._marked()

    def _marked(self) -> None:
        self.all_told.clear()
        self.to_tell.set()

    def _receipt_answered(self, chat_id: ChatId) -> None:
        if self.marks.answered(chat_id):
            self.to_tell.set()
        self._note_told()

    def _note_told(self) -> None:
        if self.marks.idle:
            self.all_told.set()

    def _welcomed(self, welcome: Welcome) -> None:
        if welcome.position.log_id != self.welcome.position.log_id:
            self._to_read.clear()
        self.welcome = welcome
        for partition, offset in welcome.token.offsets.items():
            self._raise(partition, Place(welcome.token.clocks.get(partition, 0), offset))

    def _note_accepted(self, item: Ack | Delivered) -> None:
        """Raise the read token to this item. A repeated send is acknowledged at its old place."""
        if isinstance(item, Ack) and item.home_offset:
            home = Place(item.home_clock_ms, item.home_offset)
            self._raise(partition_in(item.message_id), home)
        else:
            self._raise(self.welcome.position.partition, Place(item.clock_ms, item.offset))

    def _raise(self, partition: int, place: Place) -> None:
        known = self._to_read.get(partition)
        if known is None or place.lies_above(known):
            self._to_read[partition] = place

    def read_token(self) -> ReadToken | None:
        """Return the token with which the history has what was accepted before this session began,
        and every own message that was accepted since. None if nothing is known of that.
        """
        if not self._to_read:
            return None
        return ReadToken(
            log_id=self.welcome.position.log_id,
            offsets={partition: place.offset for partition, place in self._to_read.items()},
            clocks={partition: place.clock_ms for partition, place in self._to_read.items()},
        )

    def end(self, error: ChatError | None) -> None:
        """End the device: nothing more will come, and the sends that wait fail with `error`."""
        self.ended = True
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(error or Closed())
        self._answers.clear()
        self.progress.inbox.end()
        self.signals.end()
