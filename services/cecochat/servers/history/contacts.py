"""Whether the users of dialogs have answered each other."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from cecochat.domain.errors import Invalid
from cecochat.domain.log import ids
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.internal.v1.internal_pb2 import Contact, Contacted
from cecochat.ports.history import ChatRow, History, MarkRow
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import ReadToken

FIRST_PAGE: Final = 20
PAGE: Final = 200
LOOKED_AT_MAX: Final = 1_000
"""Who has written so many messages in a row is no stranger any more: it is not looked further back
for an answer.
"""
KNOWN_MAX: Final = 100_000


class Contacts:
    """Finds out who was answered. What a user has written once is written for good, so it remembers
    that. `hold` raises `Refusal` while the history does not hold all that a token asks for.
    """

    def __init__(self, history: History, hold: Callable[[ReadToken], Awaitable[None]]) -> None:
        self._history = history
        self._hold = hold
        self._wrote: OrderedDict[tuple[UserId, ChatId], None] = OrderedDict()

    async def requests(self, user_id: UserId, rows: Sequence[ChatRow]) -> set[ChatId]:
        """Return which of a user's chats are dialogs where only the other one wrote, and the user
        has not accepted that. Raises `Unavailable`.
        """
        asked = [
            row.chat_id
            for row in rows
            if row.group is None
            and Event.FromString(row.last_event).user_id != user_id
            and not _accepts(user_id, row.marks)
        ]
        unanswered = await asyncio.gather(*(self._unanswered(user_id, each, 1) for each in asked))
        return {id_ for id_, found in zip(asked, unanswered, strict=True) if found}

    async def find(self, contact: Contact) -> Contacted:
        """Return whether somebody to whom a user writes has answered. Raises `Refusal` (behind,
        invalid_argument, forbidden) and `Unavailable`.
        """
        if not 1 <= contact.limit <= LOOKED_AT_MAX:
            raise Invalid(f"limit is {contact.limit}: use 1 to {LOOKED_AT_MAX}")
        if contact.HasField("token"):
            await self._hold(contact.token)
        chat_id = ids.chat_id(contact.chat_id)
        (other,) = ids.authorise(UserId(contact.user_id), chat_id)
        found = await self._unanswered(other, chat_id, contact.limit)
        if found is None or _accepts(other, await self._history.marks(chat_id)):
            return Contacted(is_answered=True)
        return Contacted(client_message_ids=[each.client_message_id for each in found])

    async def _unanswered(
        self, user_id: UserId, chat_id: ChatId, limit: int
    ) -> Sequence[Event] | None:
        """Return the newest messages of a dialog, at most `limit`; None: this user wrote there, or
        the other one wrote too many to be a stranger.
        """
        if (user_id, chat_id) in self._wrote:
            return None
        found: list[Event] = []
        size, has_more = FIRST_PAGE, True
        while has_more and len(found) < LOOKED_AT_MAX:
            before = found[0].id if found else None
            page = await self._history.messages(chat_id, before=before, after=None, limit=size)
            events, has_more, size = list(map(Event.FromString, page.events)), page.has_more, PAGE
            if any(each.user_id == user_id for each in events):
                self._remember(user_id, chat_id)
                return None
            found = [*events, *found]
        return None if has_more else found[-limit:]

    def _remember(self, user_id: UserId, chat_id: ChatId) -> None:
        self._wrote[user_id, chat_id] = None
        if len(self._wrote) > KNOWN_MAX:
            self._wrote.popitem(last=False)


def _accepts(user_id: UserId, marks: Iterable[MarkRow]) -> bool:
    return any(each.user_id == user_id and each.chat_settings.accepted for each in marks)
