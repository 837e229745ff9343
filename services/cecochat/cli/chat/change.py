"""`cecochat edit`, `delete` and `react`: change a message that was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cecochat.cli import options
from cecochat.cli.chat.sender import sender
from cecochat.cli.errors import Failed
from cecochat.cli.failure import run
from cecochat.cli.output import echo, json_line
from cecochat.domain.log.ids import is_group

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cecochat.client import Change, Client

MessageId = Annotated[
    int,
    typer.Argument(metavar="ID", min=1, help="The id that `send` or `history --json` printed."),
]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command(
        "edit", epilog="Example: cecochat edit --as alice bob 914734682250149888 'At nine.'"
    )(edit)
    app.command("delete", epilog="Example: cecochat delete --as alice bob 914734682250149888")(
        delete
    )
    app.command("react", epilog="Example: cecochat react --as bob alice 914734682250149888 👍")(
        react
    )


def edit(
    chat: options.Chat,
    message_id: MessageId,
    text: Annotated[str, typer.Argument(help="The new text.")],
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Give an own message another text, and print the id of the edit."""

    async def edits(client: Client) -> Change:
        await _check(client, chat, message_id, of_user=client.user_id)
        return await client.edit(chat, message_id, text)

    run(_change(edits, as_, connect, token, json))


def delete(
    chat: options.Chat,
    message_id: MessageId,
    as_admin: Annotated[
        bool,
        typer.Option("--as-admin", help="Delete the message of a member of a group you admin."),
    ] = False,
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Delete an own message for everybody, for good, and print the id of the deletion."""

    async def deletes(client: Client) -> Change:
        await _check(client, chat, message_id, of_user="" if as_admin else client.user_id)
        return await client.delete(chat, message_id, as_admin=as_admin)

    run(_change(deletes, as_, connect, token, json))


def react(
    chat: options.Chat,
    message_id: MessageId,
    emoji: Annotated[str, typer.Argument(help="An emoji.")],
    removed: Annotated[bool, typer.Option("--remove", help="Take the emoji back.")] = False,
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Add an emoji to a message, and print the id of the reaction."""

    async def reacts(client: Client) -> Change:
        await _check(client, chat, message_id)
        return await client.react(chat, message_id, emoji, removed=removed)

    run(_change(reacts, as_, connect, token, json))


async def _check(client: Client, chat: str, message_id: int, of_user: str = "") -> None:
    """Raise `Failed` if there is no such message, or if another user has written it. A server
    accepts changes of what it does not know, and they change nothing.
    """
    page = await client.history(chat, 1, before=message_id + 1)
    if not page.messages or page.messages[0].id != message_id:
        raise Failed(f"the history of this chat has no message {message_id}")
    if of_user and (author := page.messages[0].user_id) != of_user:
        but = ", but an admin may delete it with --as-admin" if is_group(chat) else ""
        raise Failed(f"{author} has written this message, and nobody else may change it{but}")


async def _change(
    make: Callable[[Client], Awaitable[Change]],
    as_: str | None,
    url: str | None,
    token: str | None,
    as_json: bool,
) -> None:
    async with sender(as_, url, token) as client:
        change = await make(client)
    if as_json:
        json_line({"id": str(change.id)})
    else:
        echo(change.id)
