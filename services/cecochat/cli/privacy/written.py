"""Counts what a user wrote, or all users of an app, in the chats that the history has of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import NamedTuple

from cecochat.domain.changes.texts import said
from cecochat.domain.log.ids import ChatId, UserId, app_of
from cecochat.ports.history import History
from cecochat.v1.events_pb2 import Event

PAGE = 500
TELL_EVERY = 1_000  # chats


class Written(NamedTuple):
    """How many texts are sealed, how many are not, and in how many chats."""

    sealed: int
    plain: int
    chats: int


async def written_by(history: History, user_id: UserId) -> Written:
    """Count the texts of a user, those of edits among them. Raises `Unavailable`."""
    sealed = plain = chats = 0
    async for chat_id in _chats(history, user_id):
        found = await _texts(history, chat_id, user_id)
        sealed, plain, chats = sealed + found.sealed, plain + found.plain, chats + found.chats
    return Written(sealed, plain, chats)


async def written_in(history: History, app: str, tell: Callable[[int], None]) -> Written:
    """Count the texts of all users of an app. `tell` is told now and then how many of its chats
    were read. Raises `Unavailable`.
    """
    sealed = plain = chats = read = 0
    async with aclosing(history.chat_ids()) as pages:
        async for chat_ids in pages:
            for chat_id in (each for each in chat_ids if app_of(each) == app):
                found = await _texts(history, chat_id, None)
                sealed, plain, chats = (
                    sealed + found.sealed,
                    plain + found.plain,
                    chats + found.chats,
                )
                read += 1
                if read % TELL_EVERY == 0:
                    tell(read)
    return Written(sealed, plain, chats)


async def _texts(history: History, chat_id: ChatId, user_id: UserId | None) -> Written:
    """Count the texts of a chat, of one user alone if one is given."""
    sealed = plain = 0
    async for event in _events(history, chat_id):
        body = said(event) if user_id in (None, event.user_id) else None
        sealed += bool(body and body.sealed)
        plain += bool(body and body.text)
    return Written(sealed, plain, bool(sealed + plain))


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
