"""Calls the history server: repeats a call that may succeed later, and reads page after page."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from itertools import count
from random import random
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message as Asked
from typing_extensions import override

from cecochat.client.arguments import MESSAGE_ID_MAX
from cecochat.client.backoff import BackOff
from cecochat.client.channel import error_of, metadata, open_channel
from cecochat.client.errors import ChatError, Closed, NotReachable, Refused
from cecochat.client.lookup import Lookup
from cecochat.domain.log.ids import ChatId
from cecochat.v1 import history_pb2
from cecochat.v1.history_pb2 import (
    FindMessageRequest,
    FindMessageResponse,
    GetChatsRequest,
    GetChatsResponse,
    GetGroupRequest,
    GetGroupResponse,
    GetMessagesRequest,
    GetMessagesResponse,
    ListMembersRequest,
    ListMembersResponse,
    SearchMessagesRequest,
    SearchMessagesResponse,
)
from cecochat.v1.messaging_pb2 import ReadToken

CALL_TIMEOUT_S = 10.0
GIVE_UP_S = 20.0
CHANNELS_MAX = 4
BACK_OFF = BackOff()

Answer = TypeVar("Answer", bound=Asked)


class Queries(ABC):
    """Queries of the history, whoever takes them. All raise `ChatError`."""

    @abstractmethod
    async def call(self, name: str, request: Asked, response: type[Answer]) -> Answer:
        """Make a call by its name."""

    async def messages(self, request: GetMessagesRequest) -> GetMessagesResponse:
        """Return a page of a chat. Raises `ChatError`."""
        page = await self.call("GetMessages", request, GetMessagesResponse)
        if page.has_more and not _goes_on(request, [event.id for event in page.messages]):
            raise _nothing_new(f"of {request.chat_id}")
        return page

    async def chats(self, request: GetChatsRequest) -> GetChatsResponse:
        """Return a page of the list of chats. Raises `ChatError`."""
        page = await self.call("GetChats", request, GetChatsResponse)
        if page.has_more and not _lists_on(request, page.chats[-1:]):
            raise _nothing_new("of the list of chats")
        return page

    async def search(self, request: SearchMessagesRequest) -> SearchMessagesResponse:
        """Return a page of what was found. Raises `ChatError`."""
        page = await self.call("SearchMessages", request, SearchMessagesResponse)
        below = request.before or MESSAGE_ID_MAX + 1
        if page.has_more and not (page.messages and page.messages[-1].id < below):
            raise _nothing_new("of what was found")
        return page

    async def find(self, request: FindMessageRequest) -> FindMessageResponse:
        """Return how far a message has come. Raises `ChatError`."""
        return await self.call("FindMessage", request, FindMessageResponse)

    async def group(self, request: GetGroupRequest) -> GetGroupResponse:
        """Return what a group is. Raises `ChatError`."""
        return await self.call("GetGroup", request, GetGroupResponse)

    async def members(self, request: ListMembersRequest) -> ListMembersResponse:
        """Return a page of the members of a group. Raises `ChatError`."""
        page = await self.call("ListMembers", request, ListMembersResponse)
        if page.has_more and not (
            page.members and page.members[-1].user_id > request.after_user_id
        ):
            raise _nothing_new(f"of the members of {request.chat_id}")
        return page

    async def every_chat(self) -> AsyncGenerator[history_pb2.Chat]:
        """Yield all chats, the one with the newest message first.

        A chat that moves up while the list is read may be missed.
        """
        before, more = 0, True
        while more:
            page = await self.chats(GetChatsRequest(before=before))
            for chat in page.chats:
                before = chat.last_message.id
                yield chat
            more = page.has_more

    async def chats_by_id(self, token: ReadToken) -> AsyncGenerator[GetChatsResponse]:
        """Yield the pages of all chats in the order of their ids, so that none is missed."""
        after, more = "", True
        while more:
            page = await self.chats(GetChatsRequest(after_chat_id=after, token=token))
            yield page
            more = page.has_more
            after = page.chats[-1].chat_id if more else after

    async def every_page(
        self,
        chat_id: ChatId,
        after: int,
        token: ReadToken | None = None,
        *,
        with_changes: bool = False,
    ) -> AsyncGenerator[GetMessagesResponse]:
        """Yield the pages of a chat above a message id, oldest first."""
        more = True
        while more:
            request = GetMessagesRequest(
                chat_id=chat_id, after=after, token=token, with_changes=with_changes
            )
            page = await self.messages(request)
            yield page
            more = page.has_more
            after = page.messages[-1].id if more else after


class HistoryCalls(Queries):
    """Calls `cecochat.v1.History`.

    Each call has a deadline of 10 s, and is repeated for up to 20 s while its error is retriable.
    """

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._channels: dict[str, grpc.aio.Channel] = {}  # by address
        self._closed = False

    @override
    async def call(self, name: str, request: Asked, response: type[Answer]) -> Answer:
        """Make a call by its name, again while its error is retriable."""
        give_up_s = time.monotonic() + GIVE_UP_S
        for attempt in count():
            if self._closed:
                raise Closed
            try:
                route, token = await self._lookup.current()
                if route.history is None:
                    raise _no_history_server()
                return await self._once(name, request, response, route.history, token)
            except ChatError as error:
                wait_s = BACK_OFF.wait_s(attempt, random(), error.retry_after_s)  # noqa: S311
                if not error.retriable or time.monotonic() + wait_s > give_up_s:
                    raise
                if error.code != "behind":
                    self._lookup.forget()
            await asyncio.sleep(wait_s)
        raise AssertionError("counted to the end")

    async def _once(
        self, name: str, request: Asked, response: type[Answer], address: str, token: str
    ) -> Answer:
        channel = await self._channel_to(address)
        call: Any = channel.unary_unary(
            f"/cecochat.v1.History/{name}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        try:
            answer: Answer = await call(request, metadata=metadata(token), timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise error_of(f"the history server at {address}", error) from None
        except asyncio.CancelledError:
            if self._closed and not _is_cancelled():
                raise Closed from None  # the channel was closed, and not the caller cancelled
            raise
        return answer

    async def _channel_to(self, address: str) -> grpc.aio.Channel:
        """Keep a few channels open: closing one would cancel the calls that are under way on it."""
        if address not in self._channels:
            self._channels[address] = open_channel(address, self._lookup.credentials)
        channel = self._channels[address]
        if len(self._channels) > CHANNELS_MAX:
            oldest = self._channels.pop(next(iter(self._channels)))
            await oldest.close(CALL_TIMEOUT_S)
        return channel

    async def close(self) -> None:
        """Close the channels. Calls that are under way raise `Closed`."""
        self._closed = True
        while self._channels:
            _, channel = self._channels.popitem()
            await channel.close()


def _is_cancelled() -> bool:
    """Return whether somebody has asked the current task to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _goes_on(request: GetMessagesRequest, ids: Sequence[int]) -> bool:
    """Return whether a page leads on in the direction that was asked for."""
    if not ids:
        return False
    if request.HasField("after"):
        return ids[-1] > request.after
    return not request.HasField("before") or ids[0] < request.before


def _lists_on(request: GetChatsRequest, last: Sequence[history_pb2.Chat]) -> bool:
    """Return whether a page that ends with this chat, if with any, leads on in the list."""
    if not last:
        return False
    if request.HasField("after_chat_id"):
        return last[0].chat_id > request.after_chat_id
    return 0 < last[0].last_message.id < (request.before or MESSAGE_ID_MAX + 1)


def _nothing_new(where: str) -> NotReachable:
    """It must not pass for the end: what a gap lacks would never be asked for again."""
    return NotReachable(
        f"a page {where} says that there is more, and brings nothing new: the history server is "
        "at fault, so tell its operator, and try again"
    )


def _no_history_server() -> Refused:
    return Refused(
        "unavailable", "no history server is live just now: try again later", retriable=True
    )
