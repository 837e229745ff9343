"""What a client reads of a chat to fill a gap, while more is being written."""

from __future__ import annotations

from typing_extensions import override

from cecochat.client.history import HistoryCalls
from cecochat.domain.client import Device
from cecochat.v1.events_pb2 import Event, Message
from cecochat.v1.history_pb2 import GetMessagesRequest, GetMessagesResponse
from cecochat.v1.messaging_pb2 import ReadToken

CHAT = "d:alice~bob"
PAGE = 2


def event(id_: int, user: str) -> Event:
    return Event(id=id_, user_id=user, chat_id=CHAT, message=Message(text=str(id_)))


class Pages(HistoryCalls):
    """Rows that grow after each page: the rows of one sender in order, those of two not."""

    def __init__(self, rows: list[Event], later: list[list[Event]]) -> None:
        self.rows = rows
        self.later = later

    @override
    async def messages(self, request: GetMessagesRequest) -> GetMessagesResponse:
        bound = request.before if request.WhichOneof("bound") == "before" else 1 << 62
        found = sorted((row for row in self.rows if row.id < bound), key=lambda row: row.id)
        if self.later:
            self.rows = self.rows + self.later.pop(0)
        return GetMessagesResponse(messages=found[-PAGE:], has_more=len(found) > PAGE)


async def test_what_comes_while_pages_are_read_hides_nothing() -> None:
    old = [event(id_, "alice") for id_ in (10, 20, 30, 40, 100)]
    pages = Pages(old, [[event(90, "bob"), event(110, "bob")], [], []])
    device = Device("alice")
    for each in (await pages.all_above(CHAT, 0, ReadToken())).messages:
        device.show(each)
    assert device.show(event(90, "bob")), "the stream still brings it, and it was not shown"


async def test_all_above_a_message_is_read_in_the_order_of_ids() -> None:
    rows = [event(id_, "bob") for id_ in range(1, 12)]
    for low in range(12):
        found = await Pages(rows, []).all_above(CHAT, low, ReadToken())
        assert [each.id for each in found.messages] == list(range(low + 1, 12))
