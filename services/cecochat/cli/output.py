"""What commands print. In JSON, message ids are strings: JavaScript loses 64-bit numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from cecochat.client import Message

ALLOWED = "\n\t\N{ZERO WIDTH JOINER}"  # the joiner makes one emoji of several
REACH_S = 3.0  # a person waits for the first connection


def json_line(value: dict[str, Any]) -> None:
    """One object on one line."""
    typer.echo(json.dumps(value, ensure_ascii=False))


def message_json(message: Message) -> dict[str, Any]:
    """A message as `history --json` prints it; `import` reads the same."""
    from cecochat.client import peer_of

    return {
        "id": str(message.id),
        "chat_id": message.chat_id,
        "from": message.user_id,
        "to": peer_of(message.user_id, message.chat_id),
        "text": message.text,
        "client_message_id": message.client_message_id,
        "sent_at": message.sent_at.isoformat(timespec="milliseconds"),
    }


def message_line(message: Message) -> str:
    """A message for a person, at local time; the further lines of its text are indented."""
    at = message.sent_at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    head = f"{at}  {message.user_id}  "
    return head + printable(message.text).replace("\n", "\n" + " " * len(head))


def printable(text: str) -> str:
    """The text without what would steer a terminal: a message may come from anybody."""
    return "".join(
        c if c in ALLOWED or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def print_table(lines: Sequence[tuple[str, ...]]) -> None:
    """Columns side by side."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())
