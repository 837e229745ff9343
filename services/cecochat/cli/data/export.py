"""`cecochat export`: prints conversations as JSON Lines, which `import` reads."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer

from cecochat.cli import options
from cecochat.cli.failure import run
from cecochat.cli.logs import say
from cecochat.cli.output import hole_line, json_line, message_json
from cecochat.cli.target import check_user, target, token_for


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    example = "Example: cecochat export --as alice bob --output alice-bob.jsonl"
    app.command("export", epilog=example)(export)


def export(
    chat: Annotated[
        str | None,
        typer.Argument(
            metavar="USER",
            help="The user at the other end, or a chat id, such as g:hikers. By default all chats.",
        ),
    ] = None,
    as_: options.As = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write to this file, which only you may read. It appears once it is complete. "
            "By default, standard output is used.",
        ),
    ] = None,
    connect: options.Connect = None,
    token: options.Token = None,
) -> None:
    """Print every message of a chat, or of all chats of a user, as JSON Lines.

    If the history lacks some, standard error says where.
    """  # fmt: skip
    with _opened(output) as file:
        run(_export(chat, as_, connect, token, file))


@contextmanager
def _opened(output: Path | None) -> Iterator[IO[str]]:
    if output is None:
        _warn_of_readers()
        yield sys.stdout
        return
    from cecochat.settings import private

    beside = output.with_name(f"{output.name}.new")
    try:
        with private.opened(beside) as file:
            yield file
        beside.replace(output)
    finally:
        beside.unlink(missing_ok=True)


def _warn_of_readers() -> None:
    """Warn if others can read the output: the shell makes files that everybody can read."""
    mode = os.fstat(sys.stdout.fileno()).st_mode
    if stat.S_ISREG(mode) and mode & 0o077:
        say("others can read the file that this is written to: use --output FILE instead of >")


async def _export(
    chat: str | None, as_: str | None, url: str | None, token: str | None, file: IO[str]
) -> None:
    from cecochat.client import open_history

    where = target(url)
    async with open_history(where.connect_url, token_for(where, as_, token)) as history:
        check_user(as_, history.user_id)
        chats = [chat] if chat else [each.chat_id async for each in history.every_chat()]
        for each in chats:
            async for page in history.every_page(each):
                for message in page.messages:
                    json_line(message_json(message), file)
                for hole in page.holes:
                    say(f"{each}: {hole_line(hole)}")
