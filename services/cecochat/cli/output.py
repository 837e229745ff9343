"""What commands print. In JSON, ids are strings, because JavaScript rounds 64-bit numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

import typer

from cecochat.cli.attached import attached_json, said_in
from cecochat.cli.group_change import change_json, in_words
from cecochat.domain.printable import as_json, printable

if TYPE_CHECKING:
    from cecochat.client import Entry, Hole, Message

FIRST_ID = 1 << 32  # a hole that begins below it has no known beginning
REACH_S = 3.0  # how long a person has to wait for the first connection


def json_line(value: dict[str, Any], file: IO[str] | None = None) -> None:
    """Print one object on one line, to `file` or else to standard output."""
    typer.echo(as_json(value), file)


def echo(text: object, head: str = "", *, fg: str | None = None, err: bool = False) -> None:
    """Print text for a person, without anything that would steer the terminal.

    Anybody may have written the text. `fg` is the colour of `head`, or of everything if there is no
    head.
    """
    safe = printable(str(text))
    typer.echo(typer.style(head or safe, fg=fg) + (safe if head else ""), err=err)


def entry_json(entry: Entry) -> dict[str, Any]:
    """Return what a chat consists of as `history --json` prints it."""
    from cecochat.client import Message

    return message_json(entry) if isinstance(entry, Message) else change_json(entry)


def message_json(message: Message) -> dict[str, Any]:
    """Return a message as `history --json` prints it and `import` reads it."""
    from cecochat.client import peer_of

    return {
        "id": str(message.id),
        "chat_id": message.chat_id,
        "from": message.user_id,
        "to": peer_of(message.user_id, message.chat_id),
        "text": message.text,
        "client_message_id": message.client_message_id,
        "sent_at": message.sent_at.isoformat(timespec="milliseconds"),
        **_changes_json(message),
    }


def _changes_json(message: Message) -> dict[str, Any]:
    """Return what a message has only if it is a reply, carries something, or was changed."""
    ids = {
        "reply_to_id": message.reply_to_id,
        "revision_id": message.revision_id,
        "deletion_id": message.deletion_id,
    }
    found: dict[str, Any] = {name: str(id_) for name, id_ in ids.items() if id_}
    found |= {name: True for name in ("erased", "expired") if getattr(message, name)}
    found |= attached_json(message)
    if message.reactions:
        found["reactions"] = [
            {"from": each.user_id, "emoji": each.emoji} for each in message.reactions
        ]
    return found


def hole_line(hole: Hole) -> str:
    """Describe a hole to a person, in local time."""
    first, last = _minute(hole.first_id), _minute(hole.last_id)
    if hole.reason == "refused":
        return f"a message of {first} is missing here: the database refuses it"
    since = f"from {first} to" if hole.first_id > FIRST_ID else "up to"
    return f"messages may be missing here, {since} {last}: the log had lost them ({hole.reason})"


def hole_json(hole: Hole) -> dict[str, Any]:
    """Return a hole as `history --json` prints it."""
    ids = {"first_id": str(hole.first_id), "last_id": str(hole.last_id)}
    return {"hole": {"chat_id": hole.chat_id, **ids, "reason": hole.reason}}


def _minute(id_: int) -> str:
    from cecochat.domain.log.ids import time_ms

    return shown_ms(time_ms(id_), "minutes")


def shown_ms(at_ms: int, to: str = "seconds") -> str:
    """Return a time in ms since 1970 as a person reads it; see `shown`."""
    return shown(datetime.fromtimestamp(at_ms / 1_000, UTC), to)


def shown(at: datetime, to: str = "seconds") -> str:
    """Return a time in local time, to the minutes, seconds or milliseconds."""
    return at.astimezone().replace(tzinfo=None).isoformat(" ", to)


def message_line(message: Message) -> str:
    """Return a message for a person, in local time. Further lines of its text are indented."""
    head = f"{shown(message.sent_at)}  {message.user_id}  "
    return head + as_it_is(message).replace("\n", "\n" + " " * len(head))


def entry_line(entry: Entry) -> str:
    """Return what a chat consists of for a person; empty if it is a change of nothing."""
    from cecochat.client import Message

    if isinstance(entry, Message):
        return message_line(entry)
    words = in_words(entry)
    return f"{shown(entry.sent_at)}  -- {words} --" if words else ""


def as_it_is(message: Message) -> str:
    """Return the text of a message, with what has become of it."""
    if message.deletion_id:
        return "(deleted)"
    if message.erased:
        return "(erased)"
    if message.expired:
        return "(expired)"
    edited = " (edited)" if message.revision_id else ""
    reactions = "".join(f"  {each.emoji} {each.user_id}" for each in message.reactions)
    return f"{said_in(message)}{edited}{reactions}"


def print_table(lines: Sequence[tuple[str, ...]]) -> None:
    """Print rows with their columns aligned."""
    rows = [[" ".join(printable(cell).split("\n")) for cell in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for line in rows:
        cells = (f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())
