"""Who may read a chat, and which of its events: decided here for all queries."""

from __future__ import annotations

from typing import Final

from cecochat.domain.groups.changes import Seen
from cecochat.domain.groups.rights import not_found
from cecochat.domain.log import ids
from cecochat.domain.log.ids import ChatId, UserId, is_group
from cecochat.domain.log.spans import STILL, Span
from cecochat.ports.history import History
from cecochat.v1.events_pb2 import ROLE_MEMBER

ALL: Final = Seen(ROLE_MEMBER, STILL, (Span(0, STILL),), (Span(0, STILL),))
"""What the two users of a dialog see of it."""


async def seen(history: History, user_id: UserId, chat_id: ChatId) -> Seen:
    """Return what a user sees of a chat. Raises `Unavailable`, and `Refusal`: forbidden for the
    dialogs of others, and not_found for groups to which the user never belonged, whether they exist
    or not.
    """
    if not is_group(chat_id):
        ids.authorise(user_id, chat_id)
        return ALL
    found = await history.groups.seen(user_id, chat_id)
    if found is None:
        raise not_found(chat_id)
    return found
