"""`cecochat holes`: shows where acknowledged messages may be missing, and acknowledges that."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cecochat.cli import options
from cecochat.cli.asking import Server, ask_history
from cecochat.cli.errors import UsageError
from cecochat.cli.failure import run
from cecochat.cli.output import echo, json_line, print_table, shown_ms
from cecochat.overview.wrong import is_open
from cecochat.runtime.clock import now_ms

if TYPE_CHECKING:
    from cecochat.ports.history import History, Hole

app = typer.Typer(
    no_args_is_help=True,
    help="Show where acknowledged messages may be missing for good, and note that you know.",
)


def add_to(root: typer.Typer) -> None:
    """Register the commands."""
    root.add_typer(app, name="holes")


@app.command("list", epilog="Example: cecochat holes list")
def list_(
    server: Server = None, settings: options.SettingsFile = None, json: options.Json = False
) -> None:
    """Print the holes in the history, as a history server knows them.

    The exit code is 1 if an operator has not acknowledged one of them.
    """
    found = run(_listed(server, settings))
    if json:
        for hole in found:
            json_line(hole)
    elif not found:
        echo("there is no hole: every acknowledged message is in the history, or on its way there")
    else:
        print_table([("HOLE", "FOUND", "ACKNOWLEDGED", "CHAT", "IDS", "WHY"), *map(_line, found)])
    if any(is_open(hole) for hole in found):
        raise typer.Exit(1)


@app.command(epilog="Example: cecochat holes ack 12:3400 --by anna")
def ack(
    names: Annotated[list[str], typer.Argument(metavar="HOLE...", help="As `holes list` prints.")],
    by: Annotated[
        str | None, typer.Option(help="Who knows about it. By default the user of this machine.")
    ] = None,
    data: options.Data = None,
    settings: options.SettingsFile = None,
) -> None:
    """Note that an operator knows about these holes.

    `status` and `doctor` then no longer report them. This brings nothing back, and whoever reads
    the history is still told about them.
    """
    who = by or getpass.getuser()
    for hole in run(_acknowledge(names, who, data, settings)):
        echo(f"{hole.name} is acknowledged by {who}: {hole.reason}, {hole.text}")


async def _listed(server: str | None, file: Path | None) -> list[dict[str, Any]]:
    """Return the holes that a history server knows. Raises `UsageError`, `Failed`."""
    return list((await ask_history("holes", "holes", "read", server, file))["holes"])


async def _acknowledge(
    names: list[str], by: str, data: Path | None, file: Path | None
) -> list[Hole]:
    from cecochat.adapters import build
    from cecochat.cli import target

    async with build.history(target.settings(data, file)) as history:
        found = [hole for name in names for hole in await named(history, name)]
        for hole in found:
            await history.acknowledge(hole, by, now_ms())
    return found


async def named(history: History, name: str) -> list[Hole]:
    """Return the holes with a name, which all have the same first id. Raises `UsageError`."""
    holes = await history.holes()
    if found := [hole for hole in holes if is_called(name, hole.name, str(hole.first_id))]:
        only_one(name, [(hole.name, str(hole.first_id)) for hole in found])
        return found
    there = ", ".join(sorted({hole.name for hole in holes})) or "none"
    raise UsageError(f"there is no hole {name}: use one of {there}")


def is_called(name: str, position: str, first_id: str) -> bool:
    """Return whether a name means this one: `12:3400`, or `12:3400/ID` if several are at that
    offset.

    That happens after a log has lost its end and has used an offset again.
    """
    return name in (position, f"{position}/{first_id}")


def only_one(name: str, found: list[tuple[str, str]]) -> None:
    """Raise `UsageError` if a name is ambiguous. Each that is found has a position and an id."""
    full = sorted({f"{position}/{first_id}" for position, first_id in found})
    if len(full) > 1:
        raise UsageError(f"{name} means {len(full)} of them: use one of {', '.join(full)}")


def _line(hole: dict[str, Any]) -> tuple[str, ...]:
    acknowledged = "no"
    if not is_open(hole):
        acknowledged = f"{shown_ms(hole['acknowledged_at_ms'])} by {hole['acknowledged_by']}"
    ids = f"{hole['first_id']} to {hole['last_id']}"
    why = f"{hole['reason']}: {hole['text']}"
    chat = hole["chat_id"] or f"any of partition {hole['partition']}"
    return hole["name"], shown_ms(hole["found_at_ms"]), acknowledged, chat, ids, why
