"""What may be attached to a message, and what the id of an attachment says."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from typing import Final

from cecochat.domain.errors import Invalid
from cecochat.domain.log.ids import time_ms
from cecochat.domain.printable import printable
from cecochat.v1.events_pb2 import Attachment

ATTACHMENTS_MAX: Final = 10
NAME_MAX_BYTES: Final = 255
NO_NAME: Final = "/\\\n\t"
SHA256_BYTES: Final = 32
SIZE_MAX_BYTES: Final = 1 << 40
USABLE_MS: Final = 86_400_000
"""How long after an upload has begun a message may name it."""
KEPT_MS: Final = 2 * USABLE_MS
"""How long an upload is kept that no message names: with a day for clocks that differ, and for
messages that are on their way.
"""

_TIME_BYTES, _MAC_BYTES = 6, 12
_ID = re.compile(r"[A-Za-z0-9_-]{24}\Z")
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,62}/[a-z0-9][a-z0-9!#$&^_.+-]{0,62}\Z")


def make_id(begun_ms: int, mac: bytes) -> str:
    """Make an id of the time at which the upload began, in ms since 1970, and of what proves it."""
    return urlsafe_b64encode(begun_ms.to_bytes(_TIME_BYTES) + mac[:_MAC_BYTES]).decode()


def begun_ms(id_: str) -> int:
    """Return when the upload of an attachment began, in ms since 1970. Raises `Refusal`."""
    return int.from_bytes(urlsafe_b64decode(check_id(id_))[:_TIME_BYTES])


def check_id(id_: str) -> str:
    """Return an id if it can be one. Raises `Refusal`."""
    if not _ID.match(id_):
        raise Invalid(f"{id_[:40]!r} is no id of an attachment: use one that CreateUpload gave")
    return id_


def check_described(attachment: Attachment) -> None:
    """Check what is said of a file that is going to be uploaded. Raises `Refusal`."""
    size = len(attachment.name.encode())
    if not 1 <= size <= NAME_MAX_BYTES or attachment.name in (".", ".."):
        raise Invalid(f"attachment.name has {size} bytes: use a name of 1 to {NAME_MAX_BYTES}")
    unsafe = printable(attachment.name) != attachment.name
    if unsafe or any(each in attachment.name for each in NO_NAME):
        raise Invalid(
            "attachment.name has a slash or a character that cannot be printed: use the name "
            "without its folder"
        )
    if not _TYPE.match(attachment.media_type):
        raise Invalid(
            f"attachment.media_type is {attachment.media_type[:80]!r}: use one such as image/png, "
            "in lower case and without parameters"
        )
    if not 1 <= attachment.size_bytes <= SIZE_MAX_BYTES:
        raise Invalid(f"attachment.size_bytes is {attachment.size_bytes}: use the file's length")
    if len(attachment.sha256) != SHA256_BYTES:
        raise Invalid(f"attachment.sha256 is no SHA-256: use its {SHA256_BYTES} bytes")


def check_sent(attachments: Sequence[Attachment], id_max: Callable[[], int]) -> None:
    """Check what a message carries, whose receipts were checked before. `id_max` says how late it
    may be. Raises `Refusal`.
    """
    if not attachments:
        return
    if len(attachments) > ATTACHMENTS_MAX:
        raise Invalid(f"there are {len(attachments)} attachments: use at most {ATTACHMENTS_MAX}")
    if len({each.id for each in attachments}) < len(attachments):
        raise Invalid("one file is attached twice: attach each once")
    usable_ms = time_ms(id_max()) - USABLE_MS
    for each in attachments:
        if begun_ms(each.id) < usable_ms:
            raise Invalid(f"the upload {each.id} is older than a day: upload the file again")
