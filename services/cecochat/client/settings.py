"""How a user wants to have a chat: muted, archived, pinned or accepted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from cecochat.client.errors import InvalidArgument
from cecochat.v1 import events_pb2, history_pb2

FOR_GOOD = datetime.max.replace(microsecond=0, tzinfo=UTC)
"""A time until which a chat is muted that never comes."""


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """How a user wants to have a chat. Nobody else learns of it.

    What it means that a chat is muted, archived or pinned is up to the application: messages come
    as ever. `accepted` has the other user of a dialog go on writing although there is no answer,
    where `strangers.messages_max` bounds that.
    """

    muted_until: datetime | None = None
    archived: bool = False
    pinned: bool = False
    accepted: bool = False


@dataclass(frozen=True, slots=True)
class SettingsChanged:
    """The user has set, on any of their devices, how they want to have a chat. Of several, the one
    with the highest id counts.
    """

    id: int
    chat_id: str
    settings: ChatSettings
    client_message_id: str


def settings_of(settings: events_pb2.ChatSettings) -> ChatSettings:
    """Convert what was set."""
    until_ms = settings.muted_until_ms
    return ChatSettings(_time(until_ms), settings.archived, settings.pinned, settings.accepted)


def settings_event_of(event: events_pb2.Event) -> SettingsChanged:
    """Convert an event of the stream."""
    settings = settings_of(event.settings)
    return SettingsChanged(event.id, event.chat_id, settings, event.client_message_id)


def settings_in(chat: history_pb2.Chat, user_id: str) -> events_pb2.Event | None:
    """Return the event that gave a chat its settings, as far as a list of chats has it."""
    if not chat.settings_id:
        return None
    return events_pb2.Event(
        id=chat.settings_id, chat_id=chat.chat_id, user_id=user_id, settings=chat.settings
    )


def to_proto(settings: ChatSettings) -> events_pb2.ChatSettings:
    """Return what is sent. Raises `InvalidArgument`."""
    until = settings.muted_until
    if until and until.tzinfo is None:
        raise InvalidArgument("muted_until has no time zone: use one, such as datetime.UTC")
    until_ms = int(until.timestamp() * 1_000) if until else 0
    return events_pb2.ChatSettings(
        muted_until_ms=max(until_ms, 0),
        archived=settings.archived,
        pinned=settings.pinned,
        accepted=settings.accepted,
    )


def _time(at_ms: int) -> datetime | None:
    if not at_ms:
        return None
    return datetime.fromtimestamp(min(at_ms / 1_000, FOR_GOOD.timestamp()), UTC)
