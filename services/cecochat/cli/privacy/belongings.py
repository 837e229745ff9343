"""Finds everything that is a user's in the history, as lines of JSON in files of an archive."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Final

from google.protobuf.json_format import MessageToDict

from cecochat.domain.changes.about import about
from cecochat.domain.changes.changes import Changes
from cecochat.domain.changes.texts import said
from cecochat.domain.log.ids import ChatId, UserId, is_group, time_ms
from cecochat.ports.history import ChatRow, History
from cecochat.sealing.opening import Opening
from cecochat.v1.events_pb2 import Attachment, Event, GroupOptions, Role

PAGE: Final = 200
OWN: Final = "messages.jsonl"
CHANGES: Final = "changes.jsonl"
CHATS: Final = "chats.jsonl"
MEMBERSHIPS: Final = "memberships.jsonl"
BLOCKS: Final = "blocks.jsonl"
REPORTS: Final = "reports.jsonl"
OTHERS: Final = "others.jsonl"
FILES: Final = {
    CHATS: "chats, with the user's settings, read marks and role",
    OWN: "messages that the user wrote, with the texts that they have now",
    CHANGES: "edits, deletions and reactions by the user",
    MEMBERSHIPS: "changes of groups by the user, and by others about the user",
    BLOCKS: "users whom the user blocks",
    REPORTS: "reports by the user",
    OTHERS: "messages of others in the user's chats, as the user sees them",
}
"""File of the archive -> what its lines are."""

Line = tuple[str, dict[str, Any]]
"""A file of the archive, and an object that becomes a line of it."""


class Belongings:
    """What the history has of one user."""

    def __init__(self, history: History, opening: Opening, user_id: UserId) -> None:
        self._history = history
        self._opening = opening
        self._user = user_id
        self.expired = 0  # of the messages and edits of the user, left out as too old

    async def lines(self, *, others: bool, chat_done: Callable[[], None]) -> AsyncIterator[Line]:
        """Yield all lines, one chat after the other. Raises `Unavailable`."""
        async for row in self.chats():
            yield CHATS, _chat(self._user, row)
            async for line in self._in_chat(row.chat_id, others=others):
                yield line
            chat_done()

    async def chats(self) -> AsyncIterator[ChatRow]:
        """Yield the chats of the user, also groups that they have left."""
        after, has_more = "", True
        while has_more:
            rows, has_more = await self._history.chats_by_id(self._user, after=after, limit=PAGE)
            for row in rows:
                after = row.chat_id
                yield row

    async def _in_chat(self, chat_id: ChatId, *, others: bool) -> AsyncIterator[Line]:
        seen = await self._history.groups.seen(self._user, chat_id) if is_group(chat_id) else None
        async for events in self._pages(chat_id):
            written = [event for event in events if event.HasField("message")]
            changes = await self._changes(chat_id, [event.id for event in written])
            for event in events:
                is_own = event.user_id == self._user
                if (body := said(event)) and body.expired:
                    self.expired += is_own
                    continue
                if event.HasField("message"):
                    if is_own or (others and (seen is None or seen.covers(event.id))):
                        yield OWN if is_own else OTHERS, _message(event, changes.get(event.id, ()))
                elif event.HasField("membership"):
                    if is_own or self._user in _named(event):
                        yield MEMBERSHIPS, _change(event, None if is_own else self._user)
                elif is_own:
                    yield CHANGES, _change(event)

    async def _pages(self, chat_id: ChatId) -> AsyncIterator[list[Event]]:
        """Yield all events of a chat with their texts, oldest first."""
        after, has_more = 0, True
        while has_more:
            page = await self._history.messages(
                chat_id, before=None, after=after, limit=PAGE, with_changes=True
            )
            has_more = page.has_more
            (opened,) = await self._opening.events(page.events)
            events = [Event.FromString(each) for each in opened]
            after = events[-1].id if events else after
            yield events

    async def _changes(self, chat_id: ChatId, ids: Sequence[int]) -> dict[int, list[Event]]:
        """Return the changes of these messages that count, with their texts, by message id."""
        found = await self._history.changes(chat_id, ids)
        opened = await self._opening.events(*found.values())
        return {
            id_: [Event.FromString(each) for each in of_message]
            for id_, of_message in zip(found, opened, strict=True)
        }


def _chat(user_id: UserId, row: ChatRow) -> dict[str, Any]:
    line: dict[str, Any] = {"chat_id": row.chat_id, "last_message_id": str(row.last_message_id)}
    if row.group:
        line["name"] = GroupOptions.FromString(row.group.options).name
        line["role"] = Role.Name(row.group.role).removeprefix("ROLE_").lower()
        if not row.group.role:
            line["role"] = "left"
    for mark in row.marks:
        if mark.user_id == user_id:
            line["delivered_up_to"] = str(mark.delivered_up_to)
            line["read_up_to"] = str(mark.read_up_to)
            if mark.settings:
                line["settings"] = _plain(mark.chat_settings)
    return line


def _message(event: Event, changes: Sequence[Event]) -> dict[str, Any]:
    """Return a message as it is now; a deleted one has no text."""
    now = Changes(changes).of(event)
    line: dict[str, Any] = {**_head(event), "text": now.text}
    ids = {
        "reply_to_id": event.message.reply_to_id,
        "revision_id": now.revision_id,
        "deletion_id": now.deletion_id,
    }
    line |= {name: str(id_) for name, id_ in ids.items() if id_}
    if event.message.erased:
        line["erased"] = True
    if event.message.attachments and not now.deletion_id:
        line["attachments"] = [_attachment(each) for each in event.message.attachments]
    if now.mentions:
        line["mentions"] = [_plain(each) for each in now.mentions]
    return line


def _attachment(attachment: Attachment) -> dict[str, Any]:
    return {
        "id": attachment.id,
        "name": attachment.name,
        "media_type": attachment.media_type,
        "size_bytes": str(attachment.size_bytes),
        "sha256": attachment.sha256.hex(),
    }


def _change(event: Event, about_user: UserId | None = None) -> dict[str, Any]:
    """Return a change by the user, or what a change of a group by somebody else says of the user
    alone.
    """
    body = event.WhichOneof("body")
    assert body, "it changes something"
    line = {**_head(event), "kind": body}
    if about_user is not None:
        return line | {"about": about_user, "so_that": list(_so_that(event, about_user))}
    if change := about(event):
        line["message_id"] = str(change.message_id)
    return line | {"change": _plain(getattr(event, body))}


def _so_that(event: Event, user_id: UserId) -> Iterator[str]:
    change = event.membership
    named = {
        "added": change.added_ids,
        "removed": change.removed_ids,
        "invited": change.invited_ids,
        "appointed": [each.user_id for each in change.appointments],
    }
    yield from (what for what, ids in named.items() if user_id in ids)


def _named(event: Event) -> set[str]:
    change = event.membership
    appointed = (each.user_id for each in change.appointments)
    return {*change.added_ids, *change.removed_ids, *change.invited_ids, *appointed}


def _head(event: Event) -> dict[str, Any]:
    return {
        "id": str(event.id),
        "at_ms": time_ms(event.id),
        "chat_id": event.chat_id,
        "from": event.user_id,
        "client_message_id": event.client_message_id,
    }


def _plain(message: Any) -> dict[str, Any]:
    return dict(MessageToDict(message, preserving_proto_field_name=True))
