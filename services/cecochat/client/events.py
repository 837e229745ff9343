"""The plain, immutable values that a client hands to the application."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Protocol

from cecochat.client.attachments import Attachment, attachment_of
from cecochat.client.errors import ChatError, InvalidArgument
from cecochat.client.group import GroupChange, GroupOptions, Role, group_change_of
from cecochat.client.settings import ChatSettings, SettingsChanged, settings_event_of
from cecochat.domain.log import ids
from cecochat.v1 import events_pb2, history_pb2
from cecochat.v1.messaging_pb2 import Send


class Sender(Protocol):
    """Sends a message, as `Client.send` does."""

    def __call__(
        self, to: str, text: str, *, client_message_id: str | None = None
    ) -> Coroutine[Any, Any, int]:
        """See `Client.send`."""


class _Answerable:
    """Knows how to send an answer. As this is no field, it is not compared, shown or pickled."""

    __slots__ = ("_send",)
    _send: Sender


@dataclass(frozen=True, slots=True)
class Mention:
    """A user whom a text names: `text[start : start + length]`."""

    user_id: str
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Edit:
    """Another text for a message, by its author. Its `id` is the message's new revision."""

    id: int
    chat_id: str
    user_id: str
    message_id: int
    text: str  # empty if the message has been deleted since
    mentions: tuple[Mention, ...] = ()
    client_message_id: str = ""


@dataclass(frozen=True, slots=True)
class Deletion:
    """A message was deleted for everybody, by its author or by an admin of its group."""

    id: int
    chat_id: str
    user_id: str
    message_id: int
    as_admin: bool = False
    client_message_id: str = ""


@dataclass(frozen=True, slots=True)
class Reaction:
    """An emoji that a user added to a message, or took back if it is `removed`."""

    id: int
    chat_id: str
    user_id: str
    message_id: int
    emoji: str
    removed: bool = False
    client_message_id: str = ""


@dataclass(frozen=True, slots=True)
class Message(_Answerable):
    """A message. Sort the messages of a chat by `id`.

    Each is stored once. It arrives again only if the application failed or died while it handled
    it. What the history returns is as it is now; what arrives is changed by later events, and a
    `Timeline` applies them.
    """

    id: int
    chat_id: str
    user_id: str  # the sender
    text: str  # empty if it is deleted, erased or expired, and maybe if it has attachments
    client_message_id: str
    reply_to_id: int = 0  # the message that it answers; 0: none
    mentions: tuple[Mention, ...] = ()
    revision_id: int = 0  # the edit that gave it this text; 0: it has its first text
    deletion_id: int = 0  # 0: it is not deleted
    reactions: tuple[Reaction, ...] = ()  # in the order of their ids
    erased: bool = False  # its sender was erased, and its text and attachments with them
    attachments: tuple[Attachment, ...] = ()  # files; none if it is deleted, erased or expired
    expired: bool = False  # its chat does not keep it any more; only in a list of chats

    @property
    def sent_at(self) -> datetime:
        """The time at which the server accepted it, in UTC."""
        return datetime.fromtimestamp(ids.time_ms(self.id) / 1_000, UTC)

    def reply(self, text: str, *, client_message_id: str | None = None) -> Coroutine[Any, Any, int]:
        """Send a message to this chat, as `Client.send` does, and return its id.

        The same text in reply to the same message is one message, even if the process dies in
        between and the message arrives again. If the text differs each time it is made, pass a
        `client_message_id` that does not.

        Messages that a `Client` returns can be replied to; others raise `InvalidArgument`.
        """
        try:
            send = self._send
        except AttributeError:
            raise InvalidArgument(
                "no asyncio client has received this message: use the `send` of a client"
            ) from None
        chosen = client_message_id if client_message_id is not None else reply_id(self, text)
        return send(self.chat_id, text, client_message_id=chosen)


def reply_id(message: Message, text: str) -> str:
    """Return the client message id of a reply, which is the same whenever it is sent."""
    digest = sha256(str(text).encode(errors="surrogatepass")).hexdigest()
    return f"reply-{message.id}-{digest[:16]}"


def answered_by(message: Message, send: Sender) -> Message:
    """Have `message.reply` use a client. Return the message."""
    object.__setattr__(message, "_send", send)  # a message is frozen for applications
    return message


@dataclass(frozen=True, slots=True)
class Receipt:
    """How far `user_id` has received and read a chat, as message ids; 0 means nothing new."""

    chat_id: str
    user_id: str
    delivered_up_to: int
    read_up_to: int


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that an earlier run of this device left unanswered was accepted as `message`.

    A change that it left unanswered comes as itself: an `Edit`, a `Deletion`, a `Reaction` or, as
    it was asked for, a `GroupChange`.
    """

    message: Message


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that an earlier run of this device left unanswered was rejected for good."""

    chat_id: str
    client_message_id: str
    text: str  # empty if it was neither a message nor an edit
    error: ChatError


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """The client is connected, and has received everything up to now."""

    server_id: str


@dataclass(frozen=True, slots=True)
class Reconnecting:
    """The connection was lost. The client tries again in `wait_s` seconds, by itself."""

    error: ChatError
    wait_s: float


@dataclass(frozen=True, slots=True)
class Hole:
    """A range of message ids in which the history may lack messages of a chat for good.

    The range includes `first_id` and `last_id`. `reason` is `trimmed`, `unproven`, `refused`,
    `lost` or `vanished`. A client yields one when it fills a gap from a history that has a hole.
    """

    chat_id: str
    first_id: int
    last_id: int
    reason: str


Change = Edit | Deletion | Reaction
Entry = Message | GroupChange
Event = (
    Entry | Change | Receipt | SettingsChanged | Sent | Rejected | CaughtUp | Reconnecting | Hole
)


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a chat, oldest first, and whether there are more.

    `entries` are the messages and, in a group, the changes of it between them. `marks` say how far
    each user has read. `holes` say where messages may be missing for good.
    """

    entries: list[Entry]
    has_more: bool
    marks: list[Receipt]
    holes: list[Hole] = field(default_factory=list)

    @property
    def messages(self) -> list[Message]:
        """The messages. In a group, a page can have none and yet not be the last."""
        return [each for each in self.entries if isinstance(each, Message)]


@dataclass(frozen=True, slots=True)
class Chat:
    """One entry in a user's list of chats. `unread_count` covers the last 1,000 messages, and
    `unread_mention_count` those of them that mention the user.

    Of a group, `options` are what it is, and `role` is what the user is there: None in a dialog, or
    if the user has left. If the last that happened was a change of the group, it is `last_change`,
    and `last_message` has only its id, its user and no text.

    `is_request`: in this dialog only the other user wrote, and the user has not accepted it.
    """

    chat_id: str
    last_message: Message
    unread_count: int
    unread_mention_count: int
    marks: list[Receipt]
    holes: list[Hole] = field(default_factory=list)
    last_change: GroupChange | None = None
    options: GroupOptions | None = None
    role: Role | None = None
    settings: ChatSettings = field(default_factory=ChatSettings)
    is_request: bool = False


def event_of(event: events_pb2.Event) -> Entry | Change | Receipt | SettingsChanged | None:
    """Convert an event of the stream. Return None for a kind that this version does not know."""
    match event.WhichOneof("body"):
        case "message":
            return message_of(event)
        case "membership":
            return group_change_of(event)
        case "receipt":
            marks = event.receipt
            return Receipt(event.chat_id, event.user_id, marks.delivered_up_to, marks.read_up_to)
        case "settings":
            return settings_event_of(event)
    return change_of(event)


def change_of(event: events_pb2.Event) -> Change | None:
    """Convert an event that changes a message; None if it does not."""
    place = event.id, event.chat_id, event.user_id
    match event.WhichOneof("body"):
        case "edit":
            edit, mentions = event.edit, _mentions(event.edit.mentions)
            return Edit(*place, edit.message_id, edit.text, mentions, event.client_message_id)
        case "deletion":
            message_id, as_admin = event.deletion.message_id, event.deletion.as_admin
            return Deletion(*place, message_id, as_admin, event.client_message_id)
        case "reaction":
            reaction = event.reaction
            what = reaction.message_id, reaction.emoji, reaction.removed
            return Reaction(*place, *what, event.client_message_id)
    return None


def entry_of(event: events_pb2.Event, state: history_pb2.MessageState | None = None) -> Entry:
    """Convert an event of a page, with what a message has become."""
    return group_change_of(event) if event.HasField("membership") else message_of(event, state)


def message_of(event: events_pb2.Event, state: history_pb2.MessageState | None = None) -> Message:
    """Convert an event that is a message, with what it has become."""
    said, state = event.message, state or history_pb2.MessageState()
    return Message(
        event.id,
        event.chat_id,
        event.user_id,
        said.text,
        event.client_message_id,
        said.reply_to_id,
        _mentions(said.mentions),
        state.revision_id,
        state.deletion_id,
        tuple(
            Reaction(each.id, event.chat_id, each.user_id, event.id, each.emoji)
            for each in state.reactions
            if not each.removed
        ),
        said.erased,
        tuple(map(attachment_of, said.attachments)),
        said.expired,
    )


def _mentions(mentions: Iterable[events_pb2.Mention]) -> tuple[Mention, ...]:
    return tuple(Mention(each.user_id, each.start, each.length) for each in mentions)


def to_proto(mention: Mention) -> events_pb2.Mention:
    """Convert a mention."""
    return events_pb2.Mention(user_id=mention.user_id, start=mention.start, length=mention.length)


def event_of_send(user_id: str, send: Send, id_: int) -> events_pb2.Event:
    """Return the event that a send of this user has become."""
    event = events_pb2.Event(
        id=id_, user_id=user_id, chat_id=send.chat_id, client_message_id=send.client_message_id
    )
    kind = send.WhichOneof("body")
    if kind is not None:
        getattr(event, kind).CopyFrom(getattr(send, kind))
    return event


def receipt_of(chat_id: str, mark: history_pb2.Mark) -> Receipt:
    """Convert a mark of the history."""
    return Receipt(chat_id, mark.user_id, mark.delivered_up_to, mark.read_up_to)


def hole_of(hole: history_pb2.Hole) -> Hole:
    """Convert a hole of the history."""
    return Hole(hole.chat_id, hole.first_id, hole.last_id, _reason(hole.reason))


def _reason(number: history_pb2.Hole.Reason.ValueType) -> str:
    try:
        return history_pb2.Hole.Reason.Name(number).removeprefix("REASON_").lower()
    except ValueError:  # a later version of the server may know more reasons
        return "unspecified"


def missing(hole: history_pb2.Hole) -> events_pb2.Event:
    """Return the message that a hole stands for, without its content."""
    return events_pb2.Event(
        id=hole.first_id,
        chat_id=hole.chat_id,
        user_id=hole.user_id,
        client_message_id=hole.client_message_id,
    )
