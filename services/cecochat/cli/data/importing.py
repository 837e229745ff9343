"""`cecochat import`: sends the messages of a file once, however often it is run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cecochat.cli import options
from cecochat.cli.errors import SomeRefused, UsageError
from cecochat.cli.failure import run
from cecochat.cli.output import echo
from cecochat.cli.target import target


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("import", epilog="Example: cecochat import conversation.jsonl")(import_)


def import_(
    file: Annotated[
        Path, typer.Argument(help='JSON Lines: {"from": "alice", "to": "bob", "text": "hello"}')
    ],
    as_: Annotated[
        list[str] | None,
        typer.Option(
            "--as", metavar="USER", help="Send only what this user sent. May be repeated."
        ),
    ] = None,
    connect: options.Connect = None,
    token: options.Token = None,
) -> None:
    """Send the messages of a file, in order. It is safe to run this again, also after a crash.

    What is done is noted in ~/.local/state/cecochat/imports, under a hash of the file's content. So
    a file that was changed is another conversation.
    """
    from cecochat.cli.data.importer import send_all
    from cecochat.cli.data.transcript import read

    transcript = read(file)
    if as_:
        chosen = [entry for entry in transcript.entries if entry.sender in as_]
        transcript = transcript._replace(entries=chosen)
    if not transcript.entries:
        raise UsageError(f"{file} holds no messages" + (f" of {', '.join(as_)}" if as_ else ""))
    sent, before, refused = run(send_all(transcript, target(connect), token))
    echo(f"{sent} sent, {before} were sent before, {refused} refused")
    if refused:
        raise SomeRefused(f"{refused} refused: fix those lines, and import them as another file")
