"""`cecochat search`: find messages by their words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cecochat.cli import options
from cecochat.cli.failure import run
from cecochat.cli.output import as_it_is, echo, json_line, message_json, shown
from cecochat.cli.target import check_user, target, token_for

if TYPE_CHECKING:
    from cecochat.client import Message

PAGE = 200


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("search", epilog="Example: cecochat search --as alice lunch tomorrow")(search)


def search(
    words: Annotated[list[str], typer.Argument(help="Words that a message has, all of them.")],
    as_: options.As = None,
    chat: Annotated[
        str | None, typer.Option(metavar="CHAT", help="Only in this chat: a user, or `g:` an id.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Print at most this many messages.")] = 20,
    connect: options.Connect = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Find messages of a user's chats by their words, and print them, oldest first.

    The last word may be the beginning of a longer one.
    """
    user, found = run(_search(" ".join(words), as_, chat, limit, connect, token))
    for message in found:
        if json:
            json_line(message_json(message))
        else:
            echo(_line(user, message))
    if not found and not json:
        echo("Nothing was found.", err=True)


async def _search(
    text: str, as_: str | None, chat: str | None, limit: int, url: str | None, token: str | None
) -> tuple[str, list[Message]]:
    from cecochat.client import open_history

    where = target(url)
    found: list[Message] = []
    async with open_history(where.connect_url, token_for(where, as_, token)) as opened:
        check_user(as_, opened.user_id)
        more, before = True, None
        while more and len(found) < limit:
            wanted = min(limit - len(found), PAGE)
            page = await opened.search(text, wanted, chat=chat, before=before)
            found += page.messages
            more, before = page.has_more, found[-1].id if found else None
    return opened.user_id, found[::-1]


def _line(user: str, message: Message) -> str:
    """Return a message for a person, with the chat in which it was said."""
    from cecochat.client import peer_of

    head = f"{shown(message.sent_at)}  {peer_of(user, message.chat_id)}  {message.user_id}: "
    return head + as_it_is(message).replace("\n", "\n" + " " * len(head))
