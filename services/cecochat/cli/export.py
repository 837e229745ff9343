"""`cecochat export`: conversations as JSON Lines, which `import` reads."""

from __future__ import annotations

from typing import Annotated

import typer

from cecochat.cli import options
from cecochat.cli.failure import run
from cecochat.cli.logs import say
from cecochat.cli.output import hole_line, json_line, message_json
from cecochat.cli.target import check_user, target, token_for


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("export", epilog="Example: cecochat export --as alice bob > alice-bob.jsonl")(
        export
    )


def export(
    chat: Annotated[
        str | None, typer.Argument(metavar="USER", help="A user or chat id; default: every chat.")
    ] = None,
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
) -> None:
    """Print every message of a chat, or of all of the user's chats, one JSON object a line. Where
    some are missing in the history, that is said on standard error.
    """
    run(_export(chat, as_, connect, token))


async def _export(chat: str | None, as_: str | None, url: str | None, token: str | None) -> None:
    from cecochat.client import open_history

    where = target(url)
    async with open_history(where.connect_url, token_for(where, as_, token)) as history:
        check_user(as_, history.user_id)
        chats = [chat] if chat else [each.chat_id async for each in history.every_chat()]
        for each in chats:
            async for page in history.every_page(each):
                for message in page.messages:
                    json_line(message_json(message))
                for hole in page.holes:
                    say(f"{each}: {hole_line(hole)}")
