"""Reads a conversation from JSON Lines of {"from", "to", "text", "client_message_id"?}."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from cecochat.cli.errors import UsageError
from cecochat.domain.errors import Refusal
from cecochat.domain.log import ids


class Entry(NamedTuple):
    """A message to be sent. The same file always gives it the same `client_message_id`."""

    line: int
    sender: str
    chat_id: ids.ChatId
    text: str
    client_message_id: str


SKIPPED = ('{"hole":', '{"group_change":')
"""How lines of `history --json` begin that are no messages."""


class Transcript(NamedTuple):
    """The content of a file, and a name that follows from it."""

    name: str
    entries: list[Entry]


def read(path: Path) -> Transcript:
    """Read and check every line. Raises `UsageError`, which names the line."""
    try:
        content = path.read_bytes()
        lines = content.decode().split("\n")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: {error}") from None
    name = hashlib.sha256(content).hexdigest()[:16]
    entries = (
        _entry(path, number, line, name)
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.startswith(SKIPPED)
    )
    return Transcript(name, [entry for entry in entries if entry])


def _entry(path: Path, number: int, line: str, name: str) -> Entry | None:
    """Return the message of a line, or None if it has no text: it was gone when it was
    exported, or the message carried files alone, which are not in an export.
    """
    try:
        fields = json.loads(line)
        if fields.get("deletion_id") or fields.get("erased") or fields.get("expired"):
            return None
        if fields.get("attachments") and not fields.get("text"):
            return None
        sender, to = ids.user_id(_text(fields, "from")), ids.user_id(_text(fields, "to"))
        is_dialog = not to.startswith("g:") or f"{fields.get('chat_id')}".startswith("d:")
        chat_id = ids.chat_id(ids.dialog(sender, to) if is_dialog else to)
        chosen = f"{name}-{number}"
        is_as_sent = not (fields.get("revision_id") or fields.get("reply_to_id"))
        if is_as_sent and fields.get("client_message_id"):
            chosen = _text(fields, "client_message_id")
        return Entry(number, sender, chat_id, _text(fields, "text"), chosen)
    except (ValueError, AttributeError, KeyError, TypeError, Refusal) as error:
        raise UsageError(
            f'{path}, line {number}: {error}; a line is {{"from": "alice", "to": "bob", '
            '"text": "hello"}'
        ) from None


def _text(fields: dict[str, Any], key: str) -> str:
    value = fields.get(key)
    if not isinstance(value, str) or not value:
        raise ValueError(f"there is no {key!r}")
    value.encode()  # raises for half of a surrogate pair, which is not text
    return value
