"""How texts and keys are encrypted: AES-SIV (RFC 5297).

It is deterministic, so a text that is sent again is sealed to the same bytes. What it reveals is
that two sends with the same client_message_id in one chat have the same text.
"""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cecochat.domain.changes.texts import attached, said
from cecochat.domain.log.ids import UserId
from cecochat.v1.events_pb2 import Attachment, Event
from cecochat.v1.messaging_pb2 import Send

KEY_BYTES = 64  # AES-256-SIV has two keys of 32 bytes


class Wrapping:
    """Wraps the keys of users with the secret of the system."""

    def __init__(self, secret: bytes) -> None:
        derived = HKDF(SHA256(), KEY_BYTES, salt=None, info=b"cecochat keys of users")
        self._siv = AESSIV(derived.derive(secret))
        self.check = self._siv.encrypt(b"cecochat", [b"check"]).hex()

    def new(self, user_id: UserId) -> bytes:
        """Draw a key for a user, and return it wrapped."""
        return self._siv.encrypt(secrets.token_bytes(KEY_BYTES), [user_id.encode()])

    def unwrap(self, user_id: UserId, wrapped: bytes) -> UserKey:
        """Return a user's key. Raises `InvalidTag` if it is another user's, or was wrapped with
        another secret.
        """
        return UserKey(user_id, self._siv.decrypt(wrapped, [user_id.encode()]))


class UserKey:
    """The key of one user, who writes texts."""

    def __init__(self, user_id: UserId, key: bytes) -> None:
        self._user_id = user_id.encode()
        self._siv = AESSIV(key)

    def seal(self, send: Send) -> None:
        """Replace the text of a send of this user, if it has one, by the sealed text, and likewise
        what it says of attachments.
        """
        body = said(send)
        if body is not None and body.text:
            body.sealed = self._siv.encrypt(body.text.encode(), self._about(send))
            body.ClearField("text")
        for each in attached(send):
            id_, each.id = each.id, ""
            about = [*self._about(send), id_.encode()]
            sealed = self._siv.encrypt(each.SerializeToString(deterministic=True), about)
            each.CopyFrom(Attachment(id=id_, sealed=sealed))

    def open(self, event: Event, sealed: bytes) -> str | None:
        """Return the text that was sealed in an event of this user; None: it was not sealed for
        this event with this key.
        """
        try:
            return self._siv.decrypt(sealed, self._about(event)).decode()
        except InvalidTag:
            return None

    def open_attachment(self, event: Event, attachment: Attachment) -> bool:
        """Put what was sealed of an attachment in its place. Return whether it was sealed for this
        event with this key.
        """
        about = [*self._about(event), attachment.id.encode()]
        try:
            opened = self._siv.decrypt(attachment.sealed, about)
        except InvalidTag:
            return False
        attachment.ClearField("sealed")
        attachment.MergeFromString(opened)
        return True

    def seal_report(self, text: str, report_id: str) -> bytes:
        """Return what this user says in a report, sealed."""
        return self._siv.encrypt(text.encode(), self._about_report(report_id))

    def open_report(self, sealed: bytes, report_id: str) -> str | None:
        """Return what was sealed in a report of this user; None: it was not sealed for this report
        with this key.
        """
        try:
            return self._siv.decrypt(sealed, self._about_report(report_id)).decode()
        except InvalidTag:
            return None

    def _about_report(self, report_id: str) -> list[bytes]:
        return [self._user_id, b"report", report_id.encode()]  # no chat has that id

    def _about(self, of: Send | Event) -> list[bytes]:
        """Return what a sealed text belongs to: it cannot be read anywhere else."""
        return [self._user_id, of.chat_id.encode(), of.client_message_id.encode()]
