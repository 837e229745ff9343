"""What an event means for the search: a text to be found by, or a message that is gone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from cecochat.domain.changes.about import about
from cecochat.domain.log.ids import ChatId, UserId, is_group, participants
from cecochat.domain.search.words import words
from cecochat.v1.events_pb2 import Event


class Text(NamedTuple):
    """A text of a message: the first one, or that of an edit. Which of them counts, if any, the
    history says.
    """

    event_id: int  # of the message or the edit
    message_id: int
    chat_id: ChatId
    user_id: UserId  # who wrote it
    words: str  # with spaces between them


class Gone(NamedTuple):
    """A message was deleted, and is not found any more."""

    message_id: int
    user_id: UserId | None  # only what this user wrote of it is gone; None: all of it


Entry = Text | Gone


def entry_of(event: Event) -> Entry | None:
    """Return what an event means for the search; None if nothing. Nothing else takes a text from an
    event for it.
    """
    change = about(event)
    if change is None:
        return _text(event, event.id, event.message.text)
    if change.kind == "edit":
        return _text(event, change.message_id, event.edit.text)
    if change.kind == "deletion":
        return Gone(change.message_id, UserId(change.key) or None)
    return None


def entries_of(events: Iterable[bytes]) -> list[Entry]:
    """Return what serialized events mean for the search, in their order."""
    return [entry for event in events if (entry := entry_of(Event.FromString(event)))]


def _text(event: Event, message_id: int, text: str) -> Text | None:
    found = " ".join(words(text))
    if not found:
        return None
    key = (event.id, message_id, ChatId(event.chat_id), UserId(event.user_id))
    return Text(*key, found)


def of_dialogs(user_id: UserId) -> str:
    """Return the scope of all dialogs of a user."""
    return f"u:{user_id}"


def scopes(chat_id: ChatId) -> tuple[str, ...]:
    """Return the scopes of a chat, in which its messages are found: the chat itself, and those of
    all dialogs of its users if it is a dialog.
    """
    if is_group(chat_id):
        return (chat_id,)
    return (chat_id, *map(of_dialogs, participants(chat_id)))
