"""Reads what somebody sees of a group: the events from when they came to when they left."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from cecochat.domain.changes.about import about
from cecochat.domain.groups.changes import Seen
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.ports.history import ChatPage, History, Page
from cecochat.v1.events_pb2 import Event


async def group_page(
    history: History,
    user_id: UserId,
    chat_id: ChatId,
    seen: Seen,
    *,
    before: int | None,
    after: int | None,
    limit: int,
    with_changes: bool = False,
) -> ChatPage:
    """Return a page of a group, as `History.chat_page` does. Who has left the group gets no marks
    of others. Raises `Unavailable`.
    """
    found, marks = await asyncio.gather(
        _below(history, chat_id, seen, before, limit + 1)
        if after is None
        else _above(history, chat_id, seen, after, limit + 1, with_changes=with_changes),
        history.marks_in_group(chat_id, user_id),
    )
    page = Page(found[-limit:] if after is None else found[:limit], len(found) > limit)
    if not seen.role:
        marks = [mark for mark in marks if mark.user_id == user_id]
    return ChatPage(page, marks, await history.holes())


async def _above(
    history: History, chat_id: ChatId, seen: Seen, after: int, limit: int, *, with_changes: bool
) -> list[bytes]:
    """Return up to `limit` events that are seen, above an id. A page with changes is for a device
    that missed them, which gets nothing from before its user came.
    """
    found: list[bytes] = []
    for first_id, last_id in seen.stays if with_changes else seen.ranges:
        if last_id > after and len(found) < limit:
            page = await history.messages(
                chat_id,
                before=None,
                after=max(after, first_id - 1),
                limit=limit - len(found),
                with_changes=with_changes,
            )
            found += [event for event in page.events if _id(event) <= last_id]
    return found


async def _below(
    history: History, chat_id: ChatId, seen: Seen, before: int | None, limit: int
) -> list[bytes]:
    """Return up to `limit` events that are seen, just below an id, or the newest, oldest first."""
    found: list[bytes] = []
    for first_id, last_id in reversed(seen.ranges):
        below = last_id + 1 if before is None else min(before, last_id + 1)
        if first_id < below and len(found) < limit:
            page = await history.messages(
                chat_id, before=below, after=None, limit=limit - len(found)
            )
            found = [*(event for event in page.events if _id(event) >= first_id), *found]
    return found


def changes_seen(
    changes: Mapping[int, Sequence[bytes]], seen: Seen
) -> Mapping[int, Sequence[bytes]]:
    """Return those of these changes of messages, by message id, that somebody is told of. Who has
    left a group sees no later edit or reaction, but what is deleted is deleted for them, too.
    """
    if seen.role:
        return changes
    return {id_: list(_known(events, seen.as_of)) for id_, events in changes.items()}


def _known(events: Iterable[bytes], as_of: int) -> Iterable[bytes]:
    for raw in events:
        event = Event.FromString(raw)
        change = about(event)
        if event.id <= as_of or (change and change.kind == "deletion"):
            yield raw


def _id(event: bytes) -> int:
    return Event.FromString(event).id
