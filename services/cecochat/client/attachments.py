"""Files that messages carry, as the client hands them to the application."""

from __future__ import annotations

import mimetypes
import re
from dataclasses import dataclass, field
from typing import Final

from cecochat.client.errors import InvalidArgument
from cecochat.v1 import events_pb2

UNKNOWN: Final = "application/octet-stream"
_TYPE = re.compile(r"[a-z0-9][a-z0-9.+-]*/[a-z0-9][a-z0-9.+-]*")


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that a message carries.

    `media_type` is what its sender says that it is, such as `image/png`. An upload that has not
    been sent yet has a `receipt`.
    """

    id: str
    name: str
    media_type: str
    size_bytes: int
    sha256: bytes = field(repr=False)
    receipt: bytes = field(default=b"", repr=False)


def attachment_of(given: events_pb2.Attachment) -> Attachment:
    """Convert an attachment."""
    return Attachment(
        given.id, given.name, given.media_type, given.size_bytes, given.sha256, given.receipt
    )


def attachment_proto(attachment: Attachment) -> events_pb2.Attachment:
    """Convert an attachment back."""
    return events_pb2.Attachment(
        id=attachment.id,
        name=attachment.name,
        media_type=attachment.media_type,
        size_bytes=attachment.size_bytes,
        sha256=attachment.sha256,
        receipt=attachment.receipt,
    )


def type_of(name: str, media_type: str | None) -> str:
    """Return the media type to send: the given one, or what the name says. Raises
    `InvalidArgument`.
    """
    chosen = media_type or mimetypes.guess_type(name)[0] or UNKNOWN
    if not _TYPE.fullmatch(chosen):
        raise InvalidArgument(f"{chosen!r:.80} is no media type: use one such as image/png")
    return chosen
