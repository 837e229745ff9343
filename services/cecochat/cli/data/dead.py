"""`cecochat dead`: shows records that could not be stored or read, and retries or drops them."""

from __future__ import annotations

import base64
import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from cecochat.cli import options
from cecochat.cli.asking import Server, ask_history
from cecochat.cli.errors import Failed, UsageError
from cecochat.cli.failure import run
from cecochat.cli.operate.holes import is_called, only_one
from cecochat.cli.output import echo, json_line, print_table, shown_ms
from cecochat.runtime.clock import now_ms

if TYPE_CHECKING:
    from cecochat.ports.history import History, Hole
    from cecochat.v1.events_pb2 import Event

app = typer.Typer(
    no_args_is_help=True,
    help="Show the dead letters, and retry them or give them up. They are records that nobody can "
    "read, and messages that the history database refuses.",
)
Name = Annotated[
    str, typer.Argument(metavar="LETTER", help="As `dead list` prints it, such as 12:3400.")
]
NOTHING_WAITS = {
    "kept": "there is nothing to do about it; it is removed after 30 days",
    "stored": "it is in the history already",
    "dropped": "it has been given up already",
}
SHOWN_BYTES = 2_000


def add_to(root: typer.Typer) -> None:
    """Register the commands."""
    root.add_typer(app, name="dead")


@app.command("list", epilog="Example: cecochat dead list")
def list_(
    server: Server = None, settings: options.SettingsFile = None, json: options.Json = False
) -> None:
    """Print the dead letters, newest last.

    At most the newest 200 of each partition are printed. The state of a letter is: waits, if the
    history lacks the message; stored or dropped, if somebody took care of it; or kept, if it is
    only there to be looked at.
    """
    letters = run(_letters(server, settings))
    if json:
        for letter in letters:
            json_line(letter)
    elif not letters:
        echo("there is no dead letter")
    else:
        print_table([("LETTER", "AT", "STATE", "CHAT", "BYTES", "WHY"), *map(_line, letters)])


@app.command(epilog="Example: cecochat dead show 12:3400")
def show(
    name: Name,
    server: Server = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Print one dead letter with its content."""
    letter = run(_letter(name, server, settings))
    if json:
        json_line(letter)
        return
    value = base64.b64decode(letter.pop("value"))
    letter["key"] = base64.b64decode(letter["key"]).decode(errors="replace")
    letter["at"] = shown_ms(letter.pop("at_ms"))
    for name_, field in letter.items():
        if field not in ("", 0):
            echo(f"{name_:<11} {field}")
    echo(_shown(value))


def _shown(value: bytes) -> str:
    """Return the content of a letter as a person reads it."""
    from google.protobuf.message import DecodeError

    from cecochat.domain.changes.texts import said
    from cecochat.v1.events_pb2 import Event

    try:
        body = said(Event.FromString(value))
    except DecodeError:
        body = None
    if body is not None and body.sealed:
        return "(its text is sealed with a key of its user)"
    return value[:SHOWN_BYTES].decode(errors="replace")


@app.command(epilog="Example: cecochat dead retry 12:3400")
def retry(
    name: Name,
    server: Server = None,
    data: options.Data = None,
    settings: options.SettingsFile = None,
) -> None:
    """Store a refused message in the history, and close its hole.

    Use this once the database accepts the message, for instance after a limit was raised.
    """
    run(_retry(name, server, data, settings))
    echo(f"{name} is in the history; its hole is closed")


@app.command(epilog="Example: cecochat dead drop 12:3400 --by anna")
def drop(
    name: Name,
    by: Annotated[
        str | None, typer.Option(help="Who gives it up. By default the user of this machine.")
    ] = None,
    server: Server = None,
    data: options.Data = None,
    settings: options.SettingsFile = None,
) -> None:
    """Give up a refused message.

    Its hole is acknowledged, and readers of the history are still told about it.
    """
    run(_drop(name, by or getpass.getuser(), server, data, settings))
    echo(f"{name} is given up: its hole is acknowledged")


async def _letters(
    server: str | None, file: Path | None, path: str = "letters"
) -> list[dict[str, Any]]:
    return list((await ask_history(path, "letters", "people", server, file))["letters"])


async def _letter(name: str, server: str | None, file: Path | None) -> dict[str, Any]:
    """Return one letter with its content. Raises `UsageError`, `Failed`."""
    letters = await _letters(server, file, f"letters/{quote(name.partition('/')[0], safe=':')}")
    found = [each for each in letters if is_called(name, each["name"], each["message_id"])]
    if not found:
        letters = await _letters(server, file)
        there = ", ".join(letter["name"] for letter in letters[-20:]) or "none"
        raise UsageError(f"there is no dead letter {name}: use one of {there}")
    only_one(name, [(each["name"], each["message_id"]) for each in found])
    return found[0]


async def _waiting(
    name: str, server: str | None, file: Path | None, *states: str
) -> dict[str, Any]:
    """Return a letter that is in one of these states. Raises `UsageError`, `Failed`."""
    letter = await _letter(name, server, file)
    if letter["state"] not in states:
        raise Failed(f"{name}: {NOTHING_WAITS[letter['state']]}")
    return letter


async def _retry(name: str, server: str | None, data: Path | None, file: Path | None) -> None:
    from cecochat.adapters import build
    from cecochat.cli import target
    from cecochat.v1.events_pb2 import Event

    letter = await _waiting(name, server, file, "waits", "dropped")
    if letter["cut_bytes"]:
        raise Failed(
            f"{name} cannot be stored: {letter['cut_bytes']} of its bytes did not fit into the "
            "dead letter"
        )
    value = base64.b64decode(letter["value"])
    async with build.history(target.settings(data, file)) as history:
        await _store(history, name, Event.FromString(value), value)


async def _store(history: History, name: str, event: Event, value: bytes) -> None:
    """Store an event and close its holes. Raises `Failed` if it is refused again."""
    from cecochat.domain.changes.about import about
    from cecochat.domain.changes.mentions import mentioned
    from cecochat.domain.log.ids import ChatId, UserId
    from cecochat.ports.history import MessageRow, RowsRefused

    if event.HasField("membership"):
        raise Failed(f"{name} cannot be stored by hand: it says who belongs to a group")
    chat_id, user_id = ChatId(event.chat_id), UserId(event.user_id)
    recipient_ids = tuple(map(UserId, event.recipient_ids))
    key = (event.id, chat_id, user_id, recipient_ids)
    row = MessageRow(*key, value, about(event), mentioned=mentioned(event))
    try:
        await history.write([row], [], None)
    except RowsRefused as refused:
        raise Failed(f"{name} is refused again: {refused.rows[0][1]}") from None
    for hole in await _holes_of(history, event.id):
        await history.close_hole(hole)


async def _drop(
    name: str, by: str, server: str | None, data: Path | None, file: Path | None
) -> None:
    from cecochat.adapters import build
    from cecochat.cli import target

    letter = await _waiting(name, server, file, "waits")
    async with build.history(target.settings(data, file)) as history:
        for hole in await _holes_of(history, int(letter["message_id"])):
            await history.acknowledge(hole, by, now_ms())


async def _holes_of(history: History, message_id: int) -> list[Hole]:
    """Return the holes of a refused message by its id, since a log may use an offset again."""
    refused = [each for each in await history.holes() if each.reason == "refused"]
    return [each for each in refused if each.first_id == message_id]


def _line(letter: dict[str, Any]) -> tuple[str, ...]:
    cut = f" ({letter['cut_bytes']} cut)" if letter["cut_bytes"] else ""
    return (
        letter["name"],
        shown_ms(letter["at_ms"]),
        letter["state"],
        letter["chat_id"],
        f"{letter['bytes']}{cut}",
        f"{letter['kind']}: {letter['reason']}"[:100],
    )
