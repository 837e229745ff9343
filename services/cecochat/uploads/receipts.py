"""Receipts for uploads: whoever has the secret of the system can tell whether a file was uploaded,
by whom and for which message, without asking anybody.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cecochat.domain.changes.attachments import begun_ms, make_id
from cecochat.domain.errors import Invalid, Refusal
from cecochat.domain.log.ids import UserId
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import Attachment
from cecochat.v1.messaging_pb2 import Send

KEY_BYTES = 32


class For(NamedTuple):
    """The message that a file is uploaded for."""

    user_id: UserId
    chat_id: str
    client_message_id: str


class Receipts:
    """Makes ids and receipts with a key that follows from the secret of the system.

    An id stands for all that is said of a file and its message, and a receipt for an id.
    """

    def __init__(self, secret: bytes) -> None:
        derived = HKDF(SHA256(), KEY_BYTES, salt=None, info=b"cecochat receipts for uploads")
        self._key = derived.derive(secret)

    def begin(self, for_: For, described: Attachment, now_ms: int) -> str:
        """Return the id of an upload that begins now, in ms since 1970."""
        return make_id(now_ms, self._mac(b"id", *_parts(for_, described, now_ms)))

    def finish(self, attachment: Attachment) -> bytes:
        """Return the receipt for a file that is there."""
        return self._mac(b"receipt", attachment.id.encode())

    def check_begun(self, for_: For, attachment: Attachment) -> None:
        """Check that an upload has begun as it is said. Raises `Refusal`."""
        wanted = self.begin(for_, attachment, begun_ms(attachment.id))
        if not hmac.compare_digest(wanted.encode(), attachment.id.encode()):
            raise Refusal(
                errors_pb2.ERROR_CODE_FORBIDDEN,
                f"{attachment.id} was not uploaded by {for_.user_id} for this message, or not as "
                "it is described: upload the file for it",
            )

    def check(self, user_id: UserId, send: Send) -> None:
        """Check the receipts of what a send carries, and take them out: they are no part of the
        message. The outcome depends on the send alone, so a repeat has the same. Raises `Refusal`.
        """
        for each in send.message.attachments:
            self.check_begun(For(user_id, send.chat_id, send.client_message_id), each)
            if not hmac.compare_digest(self.finish(each), each.receipt):
                raise Invalid(
                    f"the attachment {each.id} has no receipt: upload the file, and send what "
                    "FinishUpload gave"
                )
            each.ClearField("receipt")

    def _mac(self, *parts: bytes) -> bytes:
        framed = b"".join(len(part).to_bytes(4) + part for part in parts)
        return hmac.digest(self._key, framed, sha256)


def _parts(for_: For, described: Attachment, begun_at_ms: int) -> Iterator[bytes]:
    yield from (each.encode() for each in for_)
    yield from (described.name.encode(), described.media_type.encode(), described.sha256)
    yield from (each.to_bytes(8, signed=True) for each in (described.size_bytes, begun_at_ms))
