"""What stands in the place of a rule that is taken from the Python client: see `ablations`."""

from __future__ import annotations

import asyncio
from typing import Any

from cecochat.client.client import Client
from cecochat.client.errors import ChatError
from cecochat.client.local import LocalDevice
from cecochat.client.lookup import Lookup
from cecochat.client.stream import Ended, Stream
from cecochat.client.transport.base import Call
from cecochat.domain.device.device import Device, Disconnected, Happening, Received, Sent
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import (
    ClientFrame,
    Disconnect,
    Send,
    ServerItem,
)


def never(*_: object) -> None:
    return None


# -- kept together

_snapshot = Device.snapshot


def snapshot_without_sends(self: Device) -> dict[str, Any]:
    return _snapshot(self) | {"outbox": []}


def snapshot_of_messages_alone(self: Device) -> dict[str, Any]:
    kept = _snapshot(self)
    changes = ("edit", "deletion", "reaction")
    outbox = [{k: v for k, v in each.items() if k not in changes} for each in kept["outbox"]]
    return kept | {"outbox": outbox}


def snapshot_without_marks(self: Device) -> dict[str, Any]:
    return _snapshot(self) | {"shown": {}}


def snapshot_without_position(self: Device) -> dict[str, Any]:
    return _snapshot(self) | {"position": None}


def snapshot_without_first_welcome(self: Device) -> dict[str, Any]:
    return _snapshot(self) | {"since": {}}


# -- the position

_receive = Device.receive


def move_anywhere(self: Device, offset: int, clock_ms: int) -> None:
    assert self.position is not None
    self.position.offset, self.position.clock_ms = offset, clock_ms


def move_the_offset_alone(self: Device, offset: int, clock_ms: int) -> None:
    assert self.position is not None
    self.position.offset = max(self.position.offset, offset)


def move_each_to_its_highest(self: Device, offset: int, clock_ms: int) -> None:
    """As if the clock alone said where a log is."""
    assert self.position is not None
    self.position.offset = offset
    self.position.clock_ms = max(self.position.clock_ms, clock_ms)


def receive_acks_without_moving(self: Device, item: ServerItem) -> Happening | None:
    if item.HasField("ack"):
        return self.answered(item.ack.client_message_id, item.ack.message_id)
    return _receive(self, item)


# -- showing

_show = Device.show


def show_again(self: Device, event: Event) -> Happening:
    return _show(self, event) or Received(event)


def show_by_floats(self: Device, event: Event) -> Happening | None:
    marks = self.shown.setdefault(event.chat_id, {})
    if float(event.id) <= float(marks.get(event.user_id, 0)):
        return None
    return _show(self, event)


def show_above_all_of_its_sender(self: Device, event: Event) -> Happening | None:
    known = max((marks.get(event.user_id, 0) for marks in self.shown.values()), default=0)
    return None if event.id <= known else _show(self, event)


def show_above_all_of_its_chat(self: Device, event: Event) -> Happening | None:
    known = max(self.shown.get(event.chat_id, {}).values(), default=0)
    return None if event.id <= known else _show(self, event)


def show_without_answering(self: Device, event: Event) -> Happening | None:
    marks = self.shown.setdefault(event.chat_id, {})
    if event.id <= marks.get(event.user_id, 0):
        return None
    marks[event.user_id] = event.id
    return Received(event)


def show_answers_whoever_wrote(self: Device, event: Event) -> Happening | None:
    if event.client_message_id in self.outbox:
        return self.answered(event.client_message_id, event.id)
    return _show(self, event)


def show_messages_alone(self: Device, event: Event) -> Happening | None:
    happening = _show(self, event)
    return happening if event.HasField("message") else None


def show_only_others(self: Device, event: Event) -> Happening | None:
    happening = _show(self, event)
    return None if isinstance(happening, Received) and event.user_id == self.user_id else happening


def answered_with_a_lower_mark(self: Device, client_message_id: str, id_: int) -> Sent | None:
    send = self.outbox.pop(client_message_id, None)
    if send is None:
        return None
    self.shown.setdefault(send.chat_id, {})[self.user_id] = id_
    return Sent(send, id_)


def answered_without_a_mark(self: Device, client_message_id: str, id_: int) -> Sent | None:
    send = self.outbox.pop(client_message_id, None)
    return Sent(send, id_) if send else None


# -- sending

_submit, _outgoing, _hello = Device.submit, Device.outgoing, Device.hello


def resends_newest_first(self: Device) -> list[str]:
    return list(reversed(self.outbox))


def resends_nothing(self: Device) -> list[str]:
    return []


def receive_and_resend_at_each_caught_up(self: Device, item: ServerItem) -> Happening | None:
    if item.HasField("caught_up"):
        self.caught_up = False
    return _receive(self, item)


def submit_and_write_at_once(self: Device, send: Send) -> None:
    _submit(self, send)
    if not self.caught_up:
        self._unwritten.append(send.client_message_id)


def submit_without_seen(self: Device, send: Send) -> None:
    seen_id = send.seen_id
    _submit(self, send)
    send.seen_id = seen_id


def submit_having_seen_all_chats(self: Device, send: Send) -> None:
    ids = (id_ for marks in self.shown.values() for id_ in marks.values())
    send.seen_id = max(send.seen_id, *ids, 0)
    _submit(self, send)


def outgoing_without_offset(self: Device, sends_max: int) -> ClientFrame | None:
    frame = _outgoing(self, sends_max)
    if frame:
        frame.offset = -1
    return frame


def outgoing_all(self: Device, sends_max: int) -> ClientFrame | None:
    return _outgoing(self, 1_000)


def outgoing_by_characters(self: Device, sends_max: int) -> ClientFrame | None:
    """Of at most 60 Ki characters of text."""
    first = _outgoing(self, 1)
    while first and len(first.sends) < sends_max and self._unwritten:
        following = self.outbox[self._unwritten[0]]
        texts = [*(send.message.text for send in first.sends), following.message.text]
        if sum(map(len, texts)) > 60 << 10:
            break
        first.sends.append(self.outbox[self._unwritten.pop(0)])
    return first


def receive_without_forgetting_refusals(self: Device, item: ServerItem) -> Happening | None:
    send = self.outbox.get(item.refused.client_message_id)
    happening = _receive(self, item)
    if item.HasField("refused") and send:
        self.outbox[send.client_message_id] = send
    return happening


def never_forget(self: LocalDevice, client_message_id: str) -> None:
    return None


def hello_without_device_id(self: Device, device: str) -> ClientFrame:
    frame = _hello(self, device)
    frame.hello.device_id = ""
    return frame


_post = Client.post


async def post_by_text(
    self: Client, to: str, text: str, *, client_message_id: str | None = None
) -> asyncio.Future[int]:
    return await _post(self, to, text, client_message_id=client_message_id or text)


# -- the end of a stream

_take, _write = Stream._take, Stream._write


async def take_refusals_and_go_on(
    self: Stream, item: ServerItem, group: asyncio.TaskGroup
) -> Ended | None:
    ended = await _take(self, item, group)
    return None if item.HasField("refused") else ended


async def write_unsaved(self: Stream, call: Call) -> None:
    async def nothing() -> None:
        return None

    self._save = nothing
    await _write(self, call)


async def take_no_expiry(self: Stream, item: ServerItem, group: asyncio.TaskGroup) -> Ended | None:
    return None if item.HasField("token_expiring") else await _take(self, item, group)


def disconnected_to_nowhere(item: Disconnect) -> Disconnected:
    return Disconnected(item.error, "")


_mends = Lookup.mends


def mends_all(self: Lookup, error: ChatError) -> bool:
    return True


def mends_but_for(*codes: str) -> Any:
    def mends(self: Lookup, error: ChatError) -> bool:
        return error.code not in codes and _mends(self, error)

    return mends


def mends_known(self: Lookup, error: ChatError) -> bool:
    return not error.code.isdigit() and _mends(self, error)


def mends_unknown(self: Lookup, error: ChatError) -> bool:
    return error.code.isdigit() or _mends(self, error)


def receive_known_alone(self: Device, item: ServerItem) -> Happening | None:
    if item.WhichOneof("item") is None:
        raise AssertionError("an item of a kind that is not known")
    return _receive(self, item)


def receive_known_events_alone(self: Device, item: ServerItem) -> Happening | None:
    if item.HasField("delivered") and item.delivered.event.WhichOneof("body") is None:
        return None
    return _receive(self, item)


def waits_as_it_likes(self: object, attempt: int, chance: float, at_least_s: float = 0.0) -> float:
    return 0.1
