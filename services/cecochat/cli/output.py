"""What commands print. In JSON, message ids are strings: JavaScript loses 64-bit numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any

import typer

from cecochat.domain.printable import as_json, printable

if TYPE_CHECKING:
    from cecochat.client import Hole, Message

FIRST_ID = 1 << 32  # below it: not known since when
REACH_S = 3.0  # a person waits for the first connection


def json_line(value: dict[str, Any], file: IO[str] | None = None) -> None:
    """One object on one line; `file`: not standard output."""
    typer.echo(as_json(value), file)


def echo(text: object, head: str = "", *, fg: str | None = None, err: bool = False) -> None:
    """Print what a person reads, without what would steer the terminal: it may be of anybody. `fg`
    is the colour of `head`, or of all where there is none.
    """
    safe = printable(str(text))
    typer.echo(typer.style(head or safe, fg=fg) + (safe if head else ""), err=err)


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
    from cecochat.domain.log.ids import time_ms

    at = datetime.fromtimestamp(time_ms(id_) / 1_000).astimezone()
    return at.strftime("%Y-%m-%d %H:%M")


def message_line(message: Message) -> str:
    """A message for a person, at local time; the further lines of its text are indented."""
    at = message.sent_at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    head = f"{at}  {message.user_id}  "
    return head + message.text.replace("\n", "\n" + " " * len(head))


def print_table(lines: Sequence[tuple[str, ...]]) -> None:
    """Columns side by side."""
    rows = [[" ".join(printable(cell).split("\n")) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for line in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())
