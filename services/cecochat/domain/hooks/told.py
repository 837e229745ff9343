"""What a webhook tells, and from which partition of the log.

Each chat is told from one partition, so that it is told in one order: a group from its home, and a
dialog from the partition of the user whose id comes first in the chat id. What concerns one user
alone is told from that user's partition.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from google.protobuf.json_format import MessageToDict

from cecochat.domain.errors import Undecodable
from cecochat.domain.log.chain import Here
from cecochat.domain.log.ids import app_of, time_ms
from cecochat.domain.log.records import Copy, LogRecord, Origin
from cecochat.domain.log.scope import is_of_group
from cecochat.v1.events_pb2 import Event

_KINDS: Final = {
    "message": "message.created",
    "edit": "message.edited",
    "deletion": "message.deleted",
    "reaction": "message.reaction",
    "receipt": "receipt",
    "membership": "group.changed",
    "settings": "chat.settings",
}
"""Body of an event -> the kind of its webhook."""
DROPPED: Final = "events.dropped"
TEST: Final = "test"
UNREAD: Final = "user.unread"
"""A user has unread messages and no session. It is no event of the log: see `silences`."""
OF_EVENTS: Final = tuple(_KINDS.values())
KINDS: Final = (*OF_EVENTS, UNREAD)
"""The kinds that an endpoint can choose. `DROPPED` is told to every endpoint."""
BY_DEFAULT: Final = tuple(kind for kind in OF_EVENTS if kind not in ("receipt", "chat.settings"))


class Told(NamedTuple):
    """A webhook before it is sent."""

    id: str  # the same for every repeat
    kind: str
    chat_id: str  # what has the same one is told one after the other; empty for what is in no chat
    at_ms: int  # when it happened, ms since 1970
    data: Any  # for JSON, unless it is made of `value`
    value: bytes = b""  # the event as it is in the log

    @property
    def size(self) -> int:
        """How many bytes it takes while it waits, about."""
        return len(self.value) + 256


def kind_of(event: Event) -> str:
    """Return the kind of webhook that tells an event; empty if this version does not know it."""
    return _KINDS.get(event.WhichOneof("body") or "", "")


def told_of(record: LogRecord | Undecodable, here: Here) -> Told | None:
    """Return what is told from this record of the partition, which counts; None: nothing, or its
    event is told from elsewhere, or is of a kind that this version does not know.
    """
    match record:
        case Origin(parsed=event) if _origin_tells(record, here):
            return of_event(event, record.event)
        case Copy(group_event=None):
            event = Event.FromString(record.event)
            first = first_of(event.chat_id)
            is_here = here.has(first) and first != event.user_id
            return of_event(event, record.event) if is_here else None
    return None


def _origin_tells(origin: Origin, here: Here) -> bool:
    event = origin.parsed
    if is_of_group(event) or event.HasField("settings"):
        return True
    first = first_of(event.chat_id)
    is_whole = origin.serves_home or first == event.user_id  # or else its copy tells it
    return is_whole and here.has(first)


def first_of(chat_id: str) -> str:
    """Return the user of a dialog whose id comes first."""
    return chat_id[2:].partition("~")[0]


def of_event(event: Event, value: bytes) -> Told | None:
    """Return the webhook of an event, whose bytes in the log are `value`; None: this version does
    not know its kind.
    """
    if not (kind := kind_of(event)):
        return None
    return Told(f"event-{event.id}", kind, event.chat_id, time_ms(event.id), None, value)


def of_dropped(partition: int, first: int, below: int, at_ms: int) -> Told:
    """Return the webhook that says that the records from `first` to below `below` are not told,
    since the log does not have them any more.
    """
    id_ = f"dropped-{partition}-{first}-{below}"
    data = {"partition": partition, "fromOffset": str(first), "belowOffset": str(below)}
    return Told(id_, DROPPED, "", at_ms, data)


def data_of(told: Told) -> Any:
    """Return what stands under `data` in the body: an event as the JSON of its message."""
    return MessageToDict(Event.FromString(told.value)) if told.value else told.data


def chat_matches(chat_id: str, app: str, patterns: tuple[str, ...]) -> bool:
    """Return whether a chat is of an app, and among those that an endpoint has chosen: ids, or the
    beginnings of ids that end with `*`. None chosen: all.
    """
    if app_of(chat_id) != app:
        return False
    return not patterns or any(
        chat_id.startswith(each[:-1]) if each.endswith("*") else chat_id == each
        for each in patterns
    )
