"""Queries to the history server: pages of a chat, the list of chats, and one message's path."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from random import random
from typing import Any, TypeVar

import grpc

from cecochat.client.arguments import (
    MESSAGE_ID_MAX,
    check_message_id,
    check_page,
    check_token,
    check_url,
)
from cecochat.client.backoff import BackOff
from cecochat.client.channel import error_of, metadata, open_channel
from cecochat.client.errors import ChatError, Closed, NotReachable, Refused
from cecochat.client.events import (
    Chat,
    Message,
    Page,
    Whereabouts,
    hole_of,
    message_of,
    receipt_of,
    whereabouts_of,
)
from cecochat.client.lookup import Lookup, Token
from cecochat.client.names import chat_of
from cecochat.domain.log.ids import ChatId
from cecochat.v1 import history_pb2
from cecochat.v1.history_pb2 import (
    FindMessageRequest,
    FindMessageResponse,
    GetChatsRequest,
    GetChatsResponse,
    GetMessagesRequest,
    GetMessagesResponse,
)
from cecochat.v1.messaging_pb2 import ReadToken

CALL_TIMEOUT_S = 10.0
GIVE_UP_S = 20.0
CHANNELS_MAX = 4
BACK_OFF = BackOff()

Request = TypeVar("Request", GetMessagesRequest, GetChatsRequest, FindMessageRequest)
Response = TypeVar("Response", GetMessagesResponse, GetChatsResponse, FindMessageResponse)


class HistoryCalls:
    """Calls `cecochat.v1.History`.

    Each call has a deadline of 10 s, and is repeated for up to 20 s while its error is retriable.
    """

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._channels: dict[str, grpc.aio.Channel] = {}  # by address
        self._closed = False

    async def messages(self, request: GetMessagesRequest) -> GetMessagesResponse:
        """Return a page of a chat. Raises `ChatError`."""
        page = await self._call("GetMessages", request, GetMessagesResponse)
        if page.has_more and not _goes_on(request, [event.id for event in page.messages]):
            raise _nothing_new(f"of {request.chat_id}")
        return page

    async def chats(self, request: GetChatsRequest) -> GetChatsResponse:
        """Return a page of the list of chats. Raises `ChatError`."""
        page = await self._call("GetChats", request, GetChatsResponse)
        if page.has_more and not _lists_on(request, page.chats[-1:]):
            raise _nothing_new("of the list of chats")
        return page

    async def find(self, request: FindMessageRequest) -> FindMessageResponse:
        """Return how far a message has come. Raises `ChatError`."""
        return await self._call("FindMessage", request, FindMessageResponse)

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

    async def _call(self, name: str, request: Request, response: type[Response]) -> Response:
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
        self, name: str, request: Request, response: type[Response], address: str, token: str
    ) -> Response:
        channel = await self._channel_to(address)
        call: Any = channel.unary_unary(
            f"/cecochat.v1.History/{name}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        try:
            answer: Response = await call(request, metadata=metadata(token), timeout=CALL_TIMEOUT_S)
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


class History:
    """The history of a user's chats. Every method takes a chat id, or the user at the other end.

    Every method raises `InvalidArgument` at once, and other `ChatError`s; if the error is
    retriable, only after 20 s of trying.
    """

    def __init__(self, user_id: str, calls: HistoryCalls) -> None:
        self.user_id = user_id
        self._calls = calls

    async def messages(
        self,
        chat: str,
        limit: int = 50,
        *,
        before: int | None = None,
        after: int | None = None,
        token: ReadToken | None = None,
    ) -> Page:
        """Return the `limit` messages just below the id `before`, or just above `after`.

        Without either, it returns the newest ones. With a `token`, the page includes everything
        that the token covers.
        """
        check_page(limit, before, after)
        chat_id = chat_of(self.user_id, chat)
        request = GetMessagesRequest(chat_id=chat_id, limit=limit, token=token)
        if before is not None:
            request.before = before
        if after is not None:
            request.after = after
        return _page(chat_id, await self._calls.messages(request))

    async def every_message(self, chat: str, *, after: int = 0) -> AsyncGenerator[Message]:
        """Yield the messages of a chat above a message id, oldest first."""
        async for page in self.every_page(chat, after=after):
            for message in page.messages:
                yield message

    async def every_page(self, chat: str, *, after: int = 0) -> AsyncGenerator[Page]:
        """Yield the same messages in pages, which also say where messages are missing."""
        check_message_id("after", after)
        chat_id = chat_of(self.user_id, chat)
        async for answer in self._calls.every_page(chat_id, after):
            yield _page(chat_id, answer)

    async def chats(
        self, limit: int = 50, *, before: int | None = None, token: ReadToken | None = None
    ) -> list[Chat]:
        """Return the user's chats, the one with the newest message first.

        `before` continues the list: pass the last message id of the last chat.
        """
        check_page(limit, before)
        answer = await self._calls.chats(
            GetChatsRequest(before=before or 0, limit=limit, token=token)
        )
        return [_chat(chat) for chat in answer.chats]

    async def every_chat(self) -> AsyncGenerator[Chat]:
        """Yield all of the user's chats, the one with the newest message first."""
        async for chat in self._calls.every_chat():
            yield _chat(chat)

    async def where(self, message_id: int, chat: str | None = None) -> Whereabouts:
        """Return how far a message has come that this user sent or receives.

        If the log no longer holds it, it is looked for in the history of `chat`. Raises `Refused`
        with the code `not_found` if the message is not the user's own.
        """
        check_message_id("message_id", message_id)
        chat_id = "" if chat is None else chat_of(self.user_id, chat)
        request = FindMessageRequest(message_id=message_id, chat_id=chat_id)
        return whereabouts_of(message_id, await self._calls.find(request))


@asynccontextmanager
async def open_history(
    connect_url: str, token: Token, *, ca_file: Path | str | None = None
) -> AsyncIterator[History]:
    """Open the history of the user that `token` names, without a chat session.

    The parameters are those of `connect`. Raises `InvalidArgument`, `NotReachable`, `Refused`.
    """
    check_url(connect_url)
    check_token(token)
    lookup = Lookup(connect_url, token, Path(ca_file) if ca_file else None)
    calls = HistoryCalls(lookup)
    try:
        route, _ = await lookup.find()
        yield History(route.user_id, calls)
    finally:
        await calls.close()
        await lookup.close()


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


def _page(chat_id: ChatId, answer: GetMessagesResponse) -> Page:
    states = {state.message_id: state for state in answer.states}
    return Page(
        [message_of(event, states.get(event.id)) for event in answer.messages],
        answer.has_more,
        [receipt_of(chat_id, mark) for mark in answer.marks],
        [hole_of(hole) for hole in answer.holes],
    )


def _chat(chat: history_pb2.Chat) -> Chat:
    return Chat(
        chat.chat_id,
        message_of(chat.last_message, chat.last_message_state),
        chat.unread_count,
        [receipt_of(chat.chat_id, mark) for mark in chat.marks],
        [hole_of(hole) for hole in chat.holes],
    )
