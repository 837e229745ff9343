"""What commands print. In JSON, message ids are strings: JavaScript loses 64-bit numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from cecochat.client import Hole, Message

FIRST_ID = 1 << 32  # below it: not known since when
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


def hole_line(hole: Hole) -> str:
    """A hole for a person, at local time."""
    first, last = _minute(hole.first_id), _minute(hole.last_id)
    if hole.reason == "refused":
        return f"a message of {first} is missing here: the database does not take it"
    since = f"from {first} to" if hole.first_id > FIRST_ID else "up to"
    return f"messages may be missing here, {since} {last}: the log had lost them ({hole.reason})"


def hole_json(hole: Hole) -> dict[str, Any]:
    """A hole as `history --json` prints it."""
    ids = {"first_id": str(hole.first_id), "last_id": str(hole.last_id)}
    return {"hole": {"chat_id": hole.chat_id, **ids, "reason": hole.reason}}


def _minute(id_: int) -> str:
    from cecochat.domain.ids import time_ms

    at = datetime.fromtimestamp(time_ms(id_) / 1_000).astimezone()
    return at.strftime("%Y-%m-%d %H:%M")


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
