"""A history that says that there is more, and brings nothing new: that is an error, and no end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.protobuf.message import Message
from typing_extensions import override

from cecochat.client import NotReachable
from cecochat.client.history import History
from cecochat.client.lookup import Lookup
from cecochat.client.queries import Answer, HistoryCalls
from cecochat.domain.log.ids import ChatId
from cecochat.v1.events_pb2 import Event
from cecochat.v1.history_pb2 import Chat, GetChatsResponse, GetMessagesResponse
from cecochat.v1.messaging_pb2 import ReadToken

ASKED_MAX = 10
BOB = ChatId("d:alice~bob")


class Repeating(HistoryCalls):
    """A history that answers every query with the same page."""

    def __init__(self, lookup: Lookup, page: Message) -> None:
        super().__init__(lookup)
        self.page = page
        self.asked = 0

    @override
    async def call(self, name: str, request: Any, response: type[Answer]) -> Answer:
        self.asked += 1
        assert self.asked < ASKED_MAX, "it is read without end"
        return response.FromString(self.page.SerializeToString())


@asynccontextmanager
async def repeating(page: Message) -> AsyncIterator[Repeating]:
    lookup = Lookup("http://127.0.0.1:1", "token", None)
    try:
        yield Repeating(lookup, page)
    finally:
        await lookup.close()


def messages(*ids: int) -> GetMessagesResponse:
    return GetMessagesResponse(messages=[Event(id=each) for each in ids], has_more=True)


def chats(*found: tuple[str, int]) -> GetChatsResponse:
    listed = [Chat(chat_id=chat, last_message=Event(id=id_)) for chat, id_ in found]
    return GetChatsResponse(chats=listed, has_more=True)


async def all_of(pages: AsyncGenerator[Any]) -> Sequence[Any]:
    return [page async for page in pages]


@pytest.mark.parametrize(
    ("page", "read"),
    [
        (messages(), lambda calls: all_of(calls.every_page(BOB, 0))),
        (messages(5, 6), lambda calls: all_of(calls.every_page(BOB, 0))),
        (messages(5, 6), lambda calls: History("alice", calls).messages("bob", after=6)),
        (messages(5, 6), lambda calls: History("alice", calls).messages("bob", before=5)),
        (messages(), lambda calls: History("alice", calls).messages("bob")),
        (chats(), lambda calls: all_of(calls.chats_by_id(ReadToken()))),
        (chats((BOB, 5)), lambda calls: all_of(calls.chats_by_id(ReadToken()))),
        (chats((BOB, 5)), lambda calls: all_of(calls.every_chat())),
        (chats((BOB, 0)), lambda calls: all_of(calls.every_chat())),
    ],
)
async def test_it_is_an_error(page: Message, read: Callable[[HistoryCalls], Any]) -> None:
    async with repeating(page) as calls:
        with pytest.raises(NotReachable, match="brings nothing new") as error:
            await read(calls)
    assert error.value.retriable


async def test_a_page_that_leads_on_is_none() -> None:
    async with repeating(messages(5, 6)) as calls:
        history = History("alice", calls)
        assert (await history.messages("bob")).has_more
        assert (await history.messages("bob", before=6)).has_more
        assert (await history.messages("bob", after=5)).has_more
    async with repeating(chats((BOB, 5))) as calls:
        assert len(await History("alice", calls).chats(before=6)) == 1
