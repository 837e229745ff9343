"""Looks in the history for sends of the product's back end that may be repeats."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

from cecochat.domain.log import ids
from cecochat.domain.log.ids import ChatId
from cecochat.internal.v1.internal_pb2 import Sought, SoughtSend
from cecochat.ports.history import History, Hole
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import ReadToken

Key = tuple[str, str]

PAGE = 200
ABSENT = 0
UNCLEAR = -1
"""A hole may hide it."""


class Seeking:
    """Finds sends by their keys. `hold` raises `Refusal` while the history does not hold all that a
    token asks for.
    """

    def __init__(self, history: History, hold: Callable[[ReadToken], Awaitable[None]]) -> None:
        self._history = history
        self._hold = hold

    async def find(self, sought: Sought) -> list[int]:
        """Return the id of the event that each send became, or `ABSENT`, or `UNCLEAR`. Raises
        `Refusal` (behind, invalid_argument) and `Unavailable`.
        """
        await self._hold(sought.token)
        by_chat: defaultdict[str, list[SoughtSend]] = defaultdict(list)
        for each in sought.sends:
            by_chat[each.chat_id].append(each)
        ids_of: dict[Key, int] = {}
        for chat_id, some in by_chat.items():
            ids_of |= await self._ids_in(ids.chat_id(chat_id), some)
        found = [ids_of.get((each.user_id, each.client_message_id), 0) for each in sought.sends]
        if all(found):
            return found
        holes = await self._history.holes()
        partitions = set(sought.token.offsets)
        return [
            id_ or _in_holes(each, [hole for hole in holes if hole.partition in partitions])
            for id_, each in zip(found, sought.sends, strict=True)
        ]

    async def _ids_in(self, chat_id: ChatId, sends: Sequence[SoughtSend]) -> dict[Key, int]:
        """Return the ids of those of these sends that are in a chat."""
        wanted = {(each.user_id, each.client_message_id) for each in sends}
        after, has_more = min(each.after_id for each in sends), True
        found: dict[Key, int] = {}
        while has_more and len(found) < len(wanted):
            events, has_more = await self._page(chat_id, after)
            for event in events:
                after = event.id
                if (key := (event.user_id, event.client_message_id)) in wanted:
                    found.setdefault(key, event.id)
        return found

    async def _page(self, chat_id: ChatId, after: int) -> tuple[list[Event], bool]:
        page = await self._history.messages(
            chat_id, before=None, after=after, limit=PAGE, with_changes=True
        )
        return [Event.FromString(each) for each in page.events], page.has_more


def _in_holes(send: SoughtSend, holes: list[Hole]) -> int:
    key = (send.user_id, send.client_message_id)
    for hole in holes:
        if (hole.user_id, hole.client_message_id) == key:
            return hole.first_id
    hides = any(
        hole.last_id > send.after_id and hole.reason != "uncopied" and not hole.client_message_id
        for hole in holes
    )
    return UNCLEAR if hides else ABSENT
