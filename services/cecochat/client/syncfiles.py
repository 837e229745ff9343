"""The files that messages carry, for programs without asyncio."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from cecochat.client import files
from cecochat.client.attachments import Attachment
from cecochat.client.background import Background
from cecochat.client.events import Message
from cecochat.client.files import Source

TRANSFER_S = 600.0
THE_STORE = "the store of files"


class Files:
    """The files that a user sends and reads: `client.files`. All works like the asyncio `Files`,
    and may also raise `TimedOut`.
    """

    def __init__(self, opened: files.Files, behind: Background) -> None:
        self._files = opened
        self._behind = behind

    def send(
        self,
        to: str,
        files: Sequence[Source],
        text: str = "",
        *,
        client_message_id: str | None = None,
        reply_to_id: int = 0,
        timeout_s: float = TRANSFER_S,
    ) -> int:
        """Upload files, and send a message with them."""
        sending = partial(self._files.send, to, files, text, reply_to_id=reply_to_id)
        return self._behind.do(sending, client_message_id, timeout_s)

    def upload(
        self,
        to: str,
        file: Source,
        *,
        client_message_id: str,
        name: str | None = None,
        media_type: str | None = None,
        timeout_s: float = TRANSFER_S,
    ) -> Attachment:
        """Upload a file for the message that will be sent with this id."""
        uploading = self._files.upload(
            to, file, client_message_id=client_message_id, name=name, media_type=media_type
        )
        return self._behind.wait(uploading, timeout_s, THE_STORE)

    def read(
        self, message: Message, attachment: Attachment, *, timeout_s: float = TRANSFER_S
    ) -> bytes:
        """Return the content of a file."""
        return self._behind.wait(self._files.read(message, attachment), timeout_s, THE_STORE)

    def save(
        self,
        message: Message,
        attachment: Attachment,
        path: Path | str,
        *,
        timeout_s: float = TRANSFER_S,
    ) -> None:
        """Write a file to a path, in whole or not at all."""
        saving = self._files.save(message, attachment, path)
        self._behind.wait(saving, timeout_s, THE_STORE)
