"""`cecochat history` and `cecochat chats`: print what the history database holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cecochat.cli import options
from cecochat.cli.chat.settings import settings_json, settings_line
from cecochat.cli.failure import run
from cecochat.cli.group_change import change_json, in_words
from cecochat.cli.output import (
    as_it_is,
    echo,
    entry_json,
    entry_line,
    hole_json,
    hole_line,
    json_line,
    message_json,
    shown,
)
from cecochat.cli.target import check_user, target, token_for
from cecochat.domain.printable import beginning

if TYPE_CHECKING:
    from cecochat.client import Chat, Entry, Hole

NAME_WIDTH = 20


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("history", epilog="Example: cecochat history --as alice bob --limit 20")(history)
    app.command("chats", epilog="Example: cecochat chats --as alice")(chats)


def history(
    chat: options.Chat,
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
    """Print the newest messages of a chat, oldest first, and say where some may be missing.

    In a group, changes of the group are among them.
    """
    entries, holes = run(_history(chat, as_, limit, before, connect, token))
    for entry in entries:
        if json:
            json_line(entry_json(entry))
        elif line := entry_line(entry):
            echo(line)
    for hole in holes:
        if json:
            json_line(hole_json(hole))
        else:
            echo(hole_line(hole), fg="red", err=True)


async def _history(
    chat: str, as_: str | None, limit: int, before: int | None, url: str | None, token: str | None
) -> tuple[list[Entry], list[Hole]]:
    from cecochat.client import open_history

    where = target(url)
    found: list[Entry] = []
    holes: dict[Hole, None] = {}  # each once, even if several pages have it
    async with open_history(where.connect_url, token_for(where, as_, token)) as opened:
        check_user(as_, opened.user_id)
        more = True
        while more and len(found) < limit:
            page = await opened.messages(chat, min(limit - len(found), 200), before=before)
            found[:0] = page.entries
            holes |= dict.fromkeys(page.holes)
            more = page.has_more
            before = page.entries[0].id if page.entries else before
    return found, list(holes)


def chats(
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Print a user's chats, the one with the newest message first."""
    user, found = run(_chats(as_, connect, token))
    width = max([NAME_WIDTH, *(len(_name(user, chat)) for chat in found)])
    for chat in found:
        if json:
            json_line(_chat_json(chat))
        else:
            echo(_chat_line(user, chat, width))
    if not found and not json:
        echo(f"{user} has no chats yet.", err=True)


async def _chats(as_: str | None, url: str | None, token: str | None) -> tuple[str, list[Chat]]:
    from cecochat.client import open_history

    where = target(url)
    async with open_history(where.connect_url, token_for(where, as_, token)) as opened:
        check_user(as_, opened.user_id)
        return opened.user_id, [chat async for chat in opened.every_chat()]


def _chat_json(chat: Chat) -> dict[str, object]:
    about: dict[str, object] = {
        "chat_id": chat.chat_id,
        "unread_count": chat.unread_count,
        "unread_mention_count": chat.unread_mention_count,
    }
    if chat.options:
        about |= {"name": chat.options.name, "role": chat.role}
    if chat.is_request:
        about["is_request"] = True
    if settings_line(chat.settings):
        about["settings"] = settings_json(chat.settings)
    if chat.last_change:
        return about | change_json(chat.last_change)
    return about | {"last_message": message_json(chat.last_message)}


def _chat_line(user: str, chat: Chat, width: int) -> str:
    last = chat.last_message
    at = shown(last.sent_at, "minutes")
    mention = " @" if chat.unread_mention_count else ""
    unread = f"{chat.unread_count} unread{mention}" if chat.unread_count else ""
    said = f"{last.user_id}: {as_it_is(last)}"
    if chat.last_change:
        said = in_words(chat.last_change) or f"{last.user_id} changed nothing"
    text = beginning(" ".join(said.split()), 60 + len(last.user_id))
    how = ", ".join(filter(None, ("request" * chat.is_request, settings_line(chat.settings))))
    return f"{at}  {_name(user, chat):<{width}}  {unread:>13}  {text}{how and f'  ({how})'}"


def _name(user: str, chat: Chat) -> str:
    """Return what a chat is called: a group by its name and the id with which one writes to it."""
    from cecochat.client import peer_of

    if chat.options is None:
        return peer_of(user, chat.chat_id)
    left = "" if chat.role else ", left"
    return f"{chat.options.name} ({chat.chat_id}{left})"
