"""Counts what a user wrote, in all chats that the history has of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from cecochat.domain.changes.texts import said
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.ports.history import History
from cecochat.v1.events_pb2 import Event

PAGE = 500


class Written(NamedTuple):
    """How many texts of a user are sealed, how many are not, and in how many chats."""

    sealed: int
    plain: int
    chats: int


async def written_by(history: History, user_id: UserId) -> Written:
    """Count the texts of a user, those of edits among them. Raises `Unavailable`."""
    sealed = plain = chats = 0
    async for chat_id in _chats(history, user_id):
        before = sealed + plain
        async for event in _events(history, chat_id):
            body = said(event) if event.user_id == user_id else None
            sealed += bool(body and body.sealed)
            plain += bool(body and body.text)
        chats += sealed + plain > before
    return Written(sealed, plain, chats)


async def _chats(history: History, user_id: UserId) -> AsyncIterator[ChatId]:
    after, has_more = "", True
    while has_more:
        rows, has_more = await history.chats_by_id(user_id, after=after, limit=PAGE)
        for row in rows:
            after = row.chat_id
            yield row.chat_id


async def _events(history: History, chat_id: ChatId) -> AsyncIterator[Event]:
    after, has_more = 0, True
    while has_more:
        page = await history.messages(
            chat_id, before=None, after=after, limit=PAGE, with_changes=True
        )
        has_more = page.has_more
        for event in map(Event.FromString, page.events):
            after = event.id
            yield event
