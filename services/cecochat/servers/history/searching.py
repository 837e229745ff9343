"""Answers searches. The index names messages that may match; the history says which of them its
user sees, and with which text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

from cecochat.domain.errors import Invalid, Refusal
from cecochat.domain.groups.changes import Seen
from cecochat.domain.log import ids, wire
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.log.spans import Span
from cecochat.domain.search.entries import of_dialogs
from cecochat.domain.search.words import query
from cecochat.ports import access
from cecochat.ports.backplane import Log
from cecochat.ports.history import History
from cecochat.ports.search import Found, Search
from cecochat.servers.history.folding import Folded
from cecochat.servers.history.pages import first_within
from cecochat.servers.history.queries import Queries, check_reached
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import Event
from cecochat.v1.history_pb2 import SearchMessagesRequest, SearchMessagesResponse

ID_MAX: Final = (1 << 63) - 1
PREPARED_RETRY_MS: Final = 1_000
FOUND_MAX: Final = 1_000  # how many are looked for at once, if few of them are shown

Find = Callable[..., Awaitable[list[Found]]]


class Searching:
    """Answers `SearchMessages`. Without `search`, all of them are refused."""

    def __init__(self, history: History, search: Search | None, log: Log, queries: Queries) -> None:
        self._history = history
        self._search = search
        self._log = log
        self._queries = queries

    async def messages(self, user_id: UserId, request: SearchMessagesRequest) -> bytes:
        """Return a page of what a user looks for, as a serialized `SearchMessagesResponse`. Raises
        `Refusal` (unimplemented, unavailable, invalid_argument, forbidden, not_found, behind).
        """
        if self._search is None:
            raise Refusal(
                errors_pb2.ERROR_CODE_UNIMPLEMENTED,
                "this system has no search: it is switched off, or its servers have no index that "
                "they share; ask its operator",
            )
        wanted = query(request.text)
        limit = self._queries.limit(request.limit)
        if request.before < 0:
            raise Invalid(f"before is {request.before}: use a message id, or 0 for the newest")
        await self._hold(self._search, request)
        scopes = await self._scopes(user_id, request.chat_id)
        sight = _Sight(self._history, user_id, scopes)
        find = partial(self._search.find, wanted)
        shown = await self._shown(find, sight, request.before or ID_MAX, limit + 1)
        await self._check(self._search, request)  # it may have been cleared meanwhile
        return _answer(shown, limit, self._queries.config.history_page_max_bytes)

    async def _hold(self, search: Search, request: SearchMessagesRequest) -> None:
        """Refuse the query if the index is not whole, or not as far as the token asks for."""
        if request.HasField("token"):
            await self._queries.hold(request.token)
        await self._check(search, request)

    async def _check(self, search: Search, request: SearchMessagesRequest) -> None:
        progress = await search.progress(self._log.id)
        if len(progress) < self._log.partitions:
            raise Refusal(
                errors_pb2.ERROR_CODE_UNAVAILABLE,
                "the words of the messages are still being indexed: ask again later",
                PREPARED_RETRY_MS,
            )
        check_reached(request.token, progress, "search", int(search.gather_s * 1_000))

    async def _scopes(self, user_id: UserId, chat: str) -> Sequence[str]:
        """Return the scopes in which to look. Raises `Refusal` if the user may not."""
        if not chat:
            return [of_dialogs(user_id), *await self._history.groups.of_user(user_id)]
        chat_id = ids.chat_id(chat)
        await access.seen(self._history, user_id, chat_id)
        return [chat_id]

    async def _shown(self, find: Find, sight: _Sight, before: int, wanted: int) -> list[Folded]:
        """Return as many messages below an id as are wanted, or all, newest first."""
        shown: list[Folded] = []
        limit = wanted
        while before > 1 and len(shown) < wanted:
            scopes, after = sight.just_below(before)
            found = await find(scopes, before=before, after=after, limit=limit)
            shown += await self._shown_of(found, sight, wanted - len(shown))
            if len(found) == limit:
                before, limit = found[-1].message_id, min(2 * limit, FOUND_MAX)
            else:
                before = after + 1
        return shown[:wanted]

    async def _shown_of(self, found: list[Found], sight: _Sight, wanted: int) -> list[Folded]:
        """Return those that the user sees, newest first: at least `wanted` if there are so many."""
        visible = [each for each in found if await sight.covers(each)]
        shown: list[Folded] = []
        while visible and len(shown) < wanted:
            some, visible = visible[:wanted], visible[wanted:]
            chats = _by_chat(some).items()
            folded = await asyncio.gather(*(self._folded(*chat, sight) for chat in chats))
            by_id = {id_: each for of_chat in folded for id_, each in of_chat.items()}
            shown += [by_id[id_] for id_ in sorted(by_id, reverse=True)]
        return shown

    async def _folded(
        self, chat_id: ChatId, found: Sequence[Found], sight: _Sight
    ) -> dict[int, Folded]:
        """Id -> message as the history shows it, for those that it shows with a text that was
        found.
        """
        event_ids = {each.message_id: each.event_ids for each in found}
        events = await self._history.these(chat_id, list(event_ids))
        seen = await sight.of(chat_id)
        assert seen, "what they do not see was left out"
        folded = await self._queries.folded(chat_id, list(events.values()), seen)
        shown = zip(events, folded, strict=True)
        return {id_: each for id_, each in shown if _text_of(each) in event_ids[id_]}


def _by_chat(found: Sequence[Found]) -> dict[ChatId, list[Found]]:
    chats: dict[ChatId, list[Found]] = {}
    for each in found:
        chats.setdefault(each.chat_id, []).append(each)
    return chats


def _text_of(folded: Folded) -> int:
    """Return the id of the event whose text a message has; 0: it has none any more."""
    event, state = Event.FromString(folded.event), folded.state
    if event.message.erased or event.message.expired or (state and state.deletion_id):
        return 0
    return (state and state.revision_id) or event.id


class _Sight:
    """What a user sees of the chats in these scopes. Of each, it is asked for once during a search,
    as soon as something is found there.
    """

    def __init__(self, history: History, user_id: UserId, scopes: Sequence[str]) -> None:
        self._history = history
        self._user_id = user_id
        self._scopes = scopes
        self._known: dict[str, Seen | None] = {}

    def just_below(self, before: int) -> tuple[list[str], int]:
        """Return the scopes in which the user may see messages just below an id, as far as is
        known, and the id down to which these are all. So what is hidden is passed over: the past of
        groups that hide it, and what came after the user had left.
        """
        scopes, after = [], 0
        for scope in self._scopes:
            below = [each for each in self._ranges(scope) if each.first_id < before]
            if below and below[-1].last_id >= before - 1:
                scopes.append(scope)
            elif below:
                after = max(after, below[-1].last_id)
        return scopes, after

    def _ranges(self, scope: str) -> Sequence[Span]:
        if scope not in self._known:
            return access.ALL.ranges
        seen = self._known[scope]
        return seen.ranges if seen else ()

    async def of(self, chat_id: ChatId) -> Seen | None:
        """Return what the user sees of a chat; None: nothing."""
        if chat_id not in self._known:
            try:
                self._known[chat_id] = await access.seen(self._history, self._user_id, chat_id)
            except Refusal:
                self._known[chat_id] = None
        return self._known[chat_id]

    async def covers(self, found: Found) -> bool:
        """Return whether the user may read a message."""
        seen = await self.of(found.chat_id)
        return seen is not None and seen.covers(found.message_id)


def _answer(shown: Sequence[Folded], limit: int, max_bytes: int) -> bytes:
    kept = first_within(shown[:limit], max_bytes)
    rest = SearchMessagesResponse(has_more=len(shown) > len(kept))
    rest.states.extend(each.state for each in kept if each.state)
    return wire.repeated(1, [each.event for each in kept]) + rest.SerializeToString()
