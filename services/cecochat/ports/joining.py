"""Joins rows of the history that say the same of somebody, so that one of them says it."""

from __future__ import annotations

from collections.abc import Iterable

from cecochat.domain.log.ids import ChatId, UserId
from cecochat.ports.history import MarkRow, MessageRow


def last_in_chats(messages: Iterable[MessageRow]) -> dict[tuple[UserId, ChatId], MessageRow]:
    """(User id, chat id) -> the last of these messages, for every list that shows each chat.
    Changes of messages are left out.
    """
    last: dict[tuple[UserId, ChatId], MessageRow] = {}
    for row in messages:
        if row.about:
            continue
        for user_id in row.lists:
            key = (user_id, row.chat_id)
            if key not in last or last[key].message_id < row.message_id:
                last[key] = row
    return last


def highest(marks: Iterable[MarkRow]) -> list[MarkRow]:
    """Join these marks into one per user and chat, with the highest values."""
    joined: dict[tuple[ChatId, UserId], MarkRow] = {}
    for mark in marks:
        chat_id, user_id, delivered, read, settings = mark
        other = joined.get((chat_id, user_id), mark)
        joined[chat_id, user_id] = MarkRow(
            chat_id,
            user_id,
            max(delivered, other.delivered_up_to),
            max(read, other.read_up_to),
            max(settings, other.settings),
        )
    return list(joined.values())
