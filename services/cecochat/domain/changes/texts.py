"""The text that a user writes, in a message or in an edit: plain, or sealed with the user's key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cecochat.domain.changes.about import about
from cecochat.v1.events_pb2 import Attachment, Edit, Event, Message
from cecochat.v1.messaging_pb2 import Send

SEALED_TAG: Final = b"\xfa\x7f"
"""The tag of the field `sealed` on the wire, without which bytes hold no sealed text. 0xfa is no
byte of UTF-8.
"""
SEALED_MORE_BYTES: Final = 16
"""How much longer a sealed text is than the text in UTF-8 (RFC 5297)."""


def said(of: Send | Event) -> Message | Edit | None:
    """Return the body that has the text; None: nothing is said."""
    match of.WhichOneof("body"):
        case "message":
            return of.message
        case "edit":
            return of.edit
    return None


def attached(to: Send | Event) -> Sequence[Attachment]:
    """Return what a message carries. Nothing else carries anything."""
    return to.message.attachments if to.HasField("message") else ()


def has_text(body: Message | Edit) -> bool:
    """Return whether there is any text."""
    return bool(body.text or body.sealed)


def fits(body: Message | Edit, max_bytes: int) -> bool:
    """Return whether the text has at most so many bytes. A short one is not encoded to see it."""
    if not body.sealed and len(body.text) * 4 <= max_bytes:
        return True
    return text_bytes(body) <= max_bytes


def text_bytes(body: Message | Edit) -> int:
    """Return how long the text is in UTF-8, also if it is sealed."""
    sealed = len(body.sealed)
    return sealed - SEALED_MORE_BYTES if sealed else len(body.text.encode())


def age_id(event: Event) -> int:
    """Return the id by which an event is too old to be kept: that of the message if it is a change
    of one, since a text gets no younger by an edit.
    """
    change = about(event)
    return min(event.id, change.message_id) if change else event.id


def blank(event: Event) -> bool:
    """Take out what an event says, since its chat does not keep it any more. Who wrote it and what
    it changes stays. Returns whether there was anything.
    """
    body = said(event)
    if body is None or body.expired:
        return False
    message_id = body.message_id if isinstance(body, Edit) else 0
    body.Clear()
    body.expired = True
    if isinstance(body, Edit):
        body.message_id = message_id
    return True
