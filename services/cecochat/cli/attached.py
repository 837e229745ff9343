"""What commands say of the files that a message carries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cecochat.client import Attachment, Message

UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


def said_in(message: Message) -> str:
    """Return the text of a message for a person, with the files that it carries."""
    files = [f"[{each.name}, {size(each.size_bytes)}]" for each in message.attachments]
    return " ".join([message.text, *files] if message.text else files)


def attached_json(message: Message) -> dict[str, Any]:
    """Return what a message has for programs only if it carries something."""
    files = [_json(each) for each in message.attachments]
    return {"attachments": files} if files else {}


def _json(attachment: Attachment) -> dict[str, Any]:
    return {
        "id": attachment.id,
        "name": attachment.name,
        "media_type": attachment.media_type,
        "size_bytes": attachment.size_bytes,
        "sha256": attachment.sha256.hex(),
    }


def size(size_bytes: int) -> str:
    """Return how large a file is."""
    value, unit = float(size_bytes), 0
    while value >= 1_024 and unit < len(UNITS) - 1:
        value, unit = value / 1_024, unit + 1
    return f"{value:.1f} {UNITS[unit]}" if unit else f"{size_bytes} {UNITS[0]}"
