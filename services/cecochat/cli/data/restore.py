"""`cecochat restore`: makes a data folder from a copy of one."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from cecochat.cli.errors import Failed, UsageError
from cecochat.cli.output import echo

CLIENTS = """\
It lacks what was said after the copy was made. Clients keep what they have. Those that know of
something later are told so when they connect, and read the history again by themselves. What a
client has shown and the history lacks remains only with that client."""
NO_KEYS = """\
It has no keys of users. If the texts in it are sealed, nobody can read them: make the folder again
with --keys, or have new texts sealed with `cecochat sealing --on`."""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("restore", epilog="Example: cecochat restore ~/backup --data ~/restored")(restore)


def restore(
    copy: Annotated[Path, typer.Argument(help="A copy of a data folder.")],
    data: Annotated[
        Path, typer.Option(help="The data folder to make. It must be empty or absent.")
    ],
    keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A copy of `keys.db`: the newest that there is. By default that in the copy.",
        ),
    ] = None,
) -> None:
    """Make a data folder from a copy, after checking that each database in it is intact.

    This is for the embedded backends. Start `cecochat up` with the new folder.
    """
    from cecochat.adapters import build

    if keys and not keys.is_file():
        raise UsageError(f"there is no file {keys}: name a copy of keys.db")
    found = build.restore(copy, data, keys)
    ends = datetime.fromtimestamp(found.ends_at_ms / 1_000).astimezone()
    echo(f"{data} is intact. Its log is {found.log_id}, and ends at {ends:%F %T %Z}.")
    echo(CLIENTS)
    if not found.has_keys:
        echo(NO_KEYS)
    if found.ends_at_ms > time.time() * 1_000:
        raise Failed("this machine's clock is behind that log: set the clock before you start it")
