"""What stands in the place of a rule about gaps that is taken from the Python client: see
`ablations`.
"""

from __future__ import annotations

from cecochat.client.errors import NotReachable
from cecochat.client.events import Event as ToldEvent
from cecochat.client.events import Receipt
from cecochat.client.local import LocalDevice
from cecochat.client.stream import Stream
from cecochat.domain.device.device import Device, Happening
from cecochat.domain.log.ids import ChatId, is_group, participants
from cecochat.v1 import history_pb2
from cecochat.v1.events_pb2 import Event
from cecochat.v1.history_pb2 import GetChatsRequest, GetMessagesRequest
from cecochat.v1.messaging_pb2 import Position, ServerItem, Welcome
from tests.conformance.scripted import ScriptedHistory

_receive, _show = Device.receive, Device.show
_welcomed, _fill, _shown_up_to = Device._welcomed, Device.fill, Device.shown_up_to


def show_what_is_too_old(self: Device, event: Event) -> Happening | None:
    if event.HasField("message"):
        event.message.expired = False
    return _show(self, event)


def welcomed_anew(self: Device, welcome: Welcome) -> None:
    self.since = None
    _welcomed(self, welcome)


def welcomed_and_moved(self: Device, welcome: Welcome) -> None:
    _welcomed(self, welcome)
    self.position = Position()
    self.position.CopyFrom(welcome.position)


def fill_with_all(self: Device, event: Event) -> Happening | None:
    return self.show(event)


def fill_with_what_is_older(self: Device, event: Event) -> Happening | None:
    since, self.since = self.since, {}
    happening = _fill(self, event)
    self.since = since
    return happening


def fill_up_to_alone(self: Device, event: Event) -> Happening | None:
    assert self._welcome is not None
    self._welcome.log_began_id = 0
    return _fill(self, event)


def filled_without_moving(self: Device) -> None:
    self.gap = None


def shown_up_to_the_higher(self: Device, chat_id: str) -> int:
    if is_group(chat_id):
        return _shown_up_to(self, chat_id)
    since, marks = self.since or {}, self.shown.get(chat_id, {})
    return max(
        max(marks.get(user_id, 0), since.get(self._partition(user_id), 0))
        for user_id in participants(ChatId(chat_id))
    )


def partition_of_all(self: Device, user_id: str) -> int:
    return 0


def receive_gaps_as_nothing(self: Device, item: ServerItem) -> Happening | None:
    return None if item.HasField("gap") else _receive(self, item)


_chats, _messages = ScriptedHistory.chats, ScriptedHistory.messages


async def chats_without_token(
    self: ScriptedHistory, request: GetChatsRequest
) -> history_pb2.GetChatsResponse:
    request.ClearField("token")
    return await _chats(self, request)


async def chats_newest_first(
    self: ScriptedHistory, request: GetChatsRequest
) -> history_pb2.GetChatsResponse:
    request.ClearField("after_chat_id")
    return await _chats(self, request)


async def messages_without_token(
    self: ScriptedHistory, request: GetMessagesRequest
) -> history_pb2.GetMessagesResponse:
    request.ClearField("token")
    return await _messages(self, request)


async def messages_without_changes(
    self: ScriptedHistory, request: GetMessagesRequest
) -> history_pb2.GetMessagesResponse:
    request.ClearField("with_changes")
    return await _messages(self, request)


async def one_page_of_chats(
    self: ScriptedHistory, request: GetChatsRequest
) -> history_pb2.GetChatsResponse:
    answer = await _chats(self, request)
    answer.has_more = False
    return answer


async def one_page_of_messages(
    self: ScriptedHistory, request: GetMessagesRequest
) -> history_pb2.GetMessagesResponse:
    answer = await _messages(self, request)
    answer.has_more = False
    return answer


async def chats_that_end(
    self: ScriptedHistory, request: GetChatsRequest
) -> history_pb2.GetChatsResponse:
    try:
        return await _chats(self, request)
    except NotReachable:
        return history_pb2.GetChatsResponse()


async def messages_that_end(
    self: ScriptedHistory, request: GetMessagesRequest
) -> history_pb2.GetMessagesResponse:
    try:
        return await _messages(self, request)
    except NotReachable:
        return history_pb2.GetMessagesResponse()


async def chats_without_holes(
    self: ScriptedHistory, request: GetChatsRequest
) -> history_pb2.GetChatsResponse:
    answer = await _chats(self, request)
    answer.ClearField("holes")
    return answer


_take_hole = Stream._take_hole
_tell = LocalDevice.tell


def take_hole_as_no_message(self: Stream, hole: history_pb2.Hole) -> None:
    told = history_pb2.Hole()
    told.CopyFrom(hole)
    told.client_message_id = ""
    _take_hole(self, told)


def tell_but_marks(self: LocalDevice, event: ToldEvent) -> None:
    if not isinstance(event, Receipt):
        _tell(self, event)
