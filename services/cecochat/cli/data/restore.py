"""`cecochat restore`: an older copy of a data folder becomes a data folder again."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from cecochat.cli.errors import Failed
from cecochat.cli.output import echo

CLIENTS = """\
What was said later is not in it. Clients keep what they have: those that know of something later
are told so when they connect, and read the history again; nobody has to do anything. What they
have shown and the history lacks stays with them alone."""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("restore", epilog="Example: cecochat restore ~/backup --data ~/restored")(restore)


def restore(
    copy: Annotated[Path, typer.Argument(help="A copy of a data folder.")],
    data: Annotated[Path, typer.Option(help="The data folder to make of it, in which nothing is.")],
) -> None:
    """Make a data folder of a copy (embedded), once each database in it was found to be whole. Then
    start `cecochat up` with it.
    """
    from cecochat.adapters import build

    found = build.restore(copy, data)
    ends = datetime.fromtimestamp(found.ends_at_ms / 1_000).astimezone()
    echo(f"{data} is whole, with the log {found.log_id}, which ends at {ends:%F %T %Z}.")
    echo(CLIENTS)
    if found.ends_at_ms > time.time() * 1_000:
        raise Failed("the clock of this machine is behind that log: set it right before you start")
