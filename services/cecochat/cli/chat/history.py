"""`cecochat history` and `cecochat chats`: print what the history database holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cecochat.cli import options
from cecochat.cli.failure import run
from cecochat.cli.output import (
    as_it_is,
    echo,
    hole_json,
    hole_line,
    json_line,
    message_json,
    message_line,
    shown,
)
from cecochat.cli.target import check_user, target, token_for
from cecochat.domain.printable import beginning

if TYPE_CHECKING:
    from cecochat.client import Chat, Hole, Message


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("history", epilog="Example: cecochat history --as alice bob --limit 20")(history)
    app.command("chats", epilog="Example: cecochat chats --as alice")(chats)


def history(
    chat: Annotated[
        str, typer.Argument(metavar="USER", help="The user at the other end, or a chat id.")
    ],
    as_: options.As = None,
    limit: Annotated[int, typer.Option(min=1, help="Print at most this many messages.")] = 50,
    before: Annotated[
        int | None,
        typer.Option(metavar="ID", help="Print the messages just below this message id."),
    ] = None,
    connect: options.Connect = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Print the newest messages of a chat, oldest first, and say where some may be missing."""
    messages, holes = run(_history(chat, as_, limit, before, connect, token))
    for message in messages:
        if json:
            json_line(message_json(message))
        else:
            echo(message_line(message))
    for hole in holes:
        if json:
            json_line(hole_json(hole))
        else:
            echo(hole_line(hole), fg="red", err=True)


async def _history(
    chat: str, as_: str | None, limit: int, before: int | None, url: str | None, token: str | None
) -> tuple[list[Message], list[Hole]]:
    from cecochat.client import open_history

    where = target(url)
    found: list[Message] = []
    holes: dict[Hole, None] = {}  # each once, even if several pages have it
    async with open_history(where.connect_url, token_for(where, as_, token)) as opened:
        check_user(as_, opened.user_id)
        more = True
        while more and len(found) < limit:
            page = await opened.messages(chat, min(limit - len(found), 200), before=before)
            found[:0] = page.messages
            holes |= dict.fromkeys(page.holes)
            more = page.has_more
            before = page.messages[0].id if page.messages else before
    return found, list(holes)


def chats(
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Print a user's chats, the one with the newest message first."""
    user, found = run(_chats(as_, connect, token))
    for chat in found:
        if json:
            json_line(_chat_json(chat))
        else:
            echo(_chat_line(user, chat))
    if not found and not json:
        echo(f"{user} has no chats yet.", err=True)


async def _chats(as_: str | None, url: str | None, token: str | None) -> tuple[str, list[Chat]]:
    from cecochat.client import open_history

    where = target(url)
    async with open_history(where.connect_url, token_for(where, as_, token)) as opened:
        check_user(as_, opened.user_id)
        return opened.user_id, [chat async for chat in opened.every_chat()]


def _chat_json(chat: Chat) -> dict[str, object]:
    return {
        "chat_id": chat.chat_id,
        "unread_count": chat.unread_count,
        "last_message": message_json(chat.last_message),
    }


def _chat_line(user: str, chat: Chat) -> str:
    from cecochat.client import peer_of

    last = chat.last_message
    at = shown(last.sent_at, "minutes")
    unread = f"{chat.unread_count} unread" if chat.unread_count else ""
    text = beginning(" ".join(as_it_is(last).split()), 60)
    return f"{at}  {peer_of(user, chat.chat_id):<20}  {unread:>11}  {last.user_id}: {text}"
