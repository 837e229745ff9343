"""Queries to the history server: pages of a chat, the list of chats, groups, and one message's
path.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from typing_extensions import override

from cecochat.client.arguments import (
    check_count,
    check_message_id,
    check_page,
    check_search,
    check_token,
    check_url,
)
from cecochat.client.events import (
    Chat,
    Message,
    Page,
    entry_of,
    hole_of,
    message_of,
    receipt_of,
)
from cecochat.client.group import (
    Group,
    Member,
    Members,
    group_change_of,
    group_of,
    members_of,
    options_of,
    role_of,
)
from cecochat.client.lookup import Lookup, Token
from cecochat.client.names import chat_of, group_id
from cecochat.client.queries import HistoryCalls, Queries
from cecochat.client.reporting import Asking, Reporting
from cecochat.client.search import FoundPage, found_page_of
from cecochat.client.settings import settings_of
from cecochat.client.whereabouts import Whereabouts, whereabouts_of
from cecochat.domain.log.ids import ChatId
from cecochat.v1 import history_pb2
from cecochat.v1.history_pb2 import (
    FindMessageRequest,
    GetChatsRequest,
    GetGroupRequest,
    GetMessagesRequest,
    GetMessagesResponse,
    ListMembersRequest,
    SearchMessagesRequest,
)
from cecochat.v1.messaging_pb2 import ReadToken


class History(Reporting):
    """The history of a user's chats. Every method takes a chat id, or the user at the other end.

    Every method raises `InvalidArgument` at once, and other `ChatError`s; if the error is
    retriable, only after 20 s of trying.
    """

    def __init__(self, user_id: str, calls: Queries) -> None:
        self.user_id = user_id
        self._calls = calls

    @override
    def _reporting(self) -> Asking:
        return Asking(self.user_id, self._calls, None)

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

    async def group(self, chat: str, *, token: ReadToken | None = None) -> Group:
        """Return what a group is, and what the user is there. `Refused` has the code `not_found`
        if the user never belonged to such a group.
        """
        chat_id = group_id(chat)
        request = GetGroupRequest(chat_id=chat_id, token=token)
        return group_of(chat_id, await self._calls.group(request))

    async def members(
        self,
        chat: str,
        limit: int = 50,
        *,
        after: str = "",
        as_of: int = 0,
        token: ReadToken | None = None,
    ) -> Members:
        """Return a page of those who belong to a group, above the user id `after`.

        For pages that belong together, pass `as_of` of the first. Raises as `group`.
        """
        check_count("limit", limit)
        check_message_id("as_of", as_of)
        request = ListMembersRequest(
            chat_id=group_id(chat), limit=limit, after_user_id=after, as_of=as_of, token=token
        )
        return members_of(await self._calls.members(request))

    async def every_member(
        self, chat: str, *, token: ReadToken | None = None
    ) -> AsyncGenerator[Member]:
        """Yield all who belong to a group or are invited, at one time. Raises as `group`."""
        after, as_of, more = "", 0, True
        while more:
            page = await self.members(chat, after=after, as_of=as_of, token=token)
            for member in page.members:
                after = member.user_id
                yield member
            as_of, more = page.as_of, page.has_more

    async def search(
        self,
        text: str,
        limit: int = 50,
        *,
        chat: str | None = None,
        before: int | None = None,
        token: ReadToken | None = None,
    ) -> FoundPage:
        """Return the newest messages of the user's chats, or of one `chat`, that have all words of
        `text`, as they are now.

        The last word may be the beginning of a longer one. `before` continues below a message id.
        With a `token`, the messages that it covers are among them. `Refused` has the code
        `unimplemented` if the system has no search.
        """
        check_search(text)
        check_page(limit, before)
        chat_id = "" if chat is None else chat_of(self.user_id, chat)
        request = SearchMessagesRequest(
            text=text, chat_id=chat_id, before=before or 0, limit=limit, token=token
        )
        return found_page_of(await self._calls.search(request))

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


def _page(chat_id: ChatId, answer: GetMessagesResponse) -> Page:
    states = {state.message_id: state for state in answer.states}
    return Page(
        [entry_of(event, states.get(event.id)) for event in answer.messages],
        answer.has_more,
        [receipt_of(chat_id, mark) for mark in answer.marks],
        [hole_of(hole) for hole in answer.holes],
    )


def _chat(chat: history_pb2.Chat) -> Chat:
    last = chat.last_message
    return Chat(
        chat.chat_id,
        message_of(last, chat.last_message_state),
        chat.unread_count,
        chat.unread_mention_count,
        [receipt_of(chat.chat_id, mark) for mark in chat.marks],
        [hole_of(hole) for hole in chat.holes],
        group_change_of(last) if last.HasField("membership") else None,
        options_of(chat.options) if chat.HasField("options") else None,
        role_of(chat.role),
        settings_of(chat.settings),
        chat.is_request,
    )
