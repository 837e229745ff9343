"""`cecochat set`: how a user wants to have a chat."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from cecochat.cli import options
from cecochat.cli.chat.sender import sender
from cecochat.cli.chat.token import seconds
from cecochat.cli.errors import UsageError
from cecochat.cli.failure import run
from cecochat.cli.output import echo, json_line

if TYPE_CHECKING:
    from cecochat.client import ChatSettings, Client

PAGE = 200
FOREVER = "forever"
NEVER = "no"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("set", epilog="Example: cecochat set --as alice g:hikers --mute 8h --pinned")(set_)


def set_(
    chat: options.Chat,
    mute: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="For how long, such as 8h or 7d; or `forever`, or `no`."),
    ] = None,
    archived: Annotated[bool | None, typer.Option("--archived/--not-archived")] = None,
    pinned: Annotated[bool | None, typer.Option("--pinned/--not-pinned")] = None,
    accepted: Annotated[
        bool | None,
        typer.Option(
            "--accepted/--not-accepted",
            help="Whether the other user of a dialog may go on writing without an answer.",
        ),
    ] = None,
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Mute, archive, pin or accept a chat, for yourself alone, and print how you have it now.

    What is not named stays as it is. On all your devices it is the same, and nobody else learns of
    it.
    """
    wanted = {"archived": archived, "pinned": pinned, "accepted": accepted}
    changes = {name: each for name, each in wanted.items() if each is not None}
    until = {} if mute is None else {"muted_until": muted_until(mute)}
    settings = run(_set(chat, {**changes, **until}, as_, connect, token))
    if json:
        json_line(settings_json(settings))
    else:
        echo(settings_line(settings) or "as at first")


async def _set(
    chat: str, changes: dict[str, object], as_: str | None, url: str | None, token: str | None
) -> ChatSettings:
    from dataclasses import replace

    async with sender(as_, url, token) as client:
        settings = replace(await _settings(client, chat), **changes)  # type: ignore[arg-type]
        return (await client.set_chat(chat, settings)).settings if changes else settings


async def _settings(client: Client, chat: str) -> ChatSettings:
    from cecochat.client import ChatSettings, chat_of

    chat_id, before = chat_of(client.user_id, chat), None
    while page := await client.chats(PAGE, before=before):
        for each in page:
            if each.chat_id == chat_id:
                return each.settings
        before = page[-1].last_message.id
    return ChatSettings()


def muted_until(text: str) -> datetime | None:
    """Return until when `--mute TEXT` mutes from now on. Raises `UsageError`."""
    from cecochat.client import FOR_GOOD

    if text in (NEVER, FOREVER):
        return FOR_GOOD if text == FOREVER else None
    try:
        return datetime.now(UTC) + timedelta(seconds=seconds(text))
    except OverflowError:
        raise UsageError(f"{text} is too long: use `--mute {FOREVER}`") from None


def settings_json(settings: ChatSettings) -> dict[str, object]:
    """Return what is set, for JSON."""
    until = settings.muted_until
    return {
        "muted_until": until and until.isoformat(timespec="seconds"),
        "archived": settings.archived,
        "pinned": settings.pinned,
        "accepted": settings.accepted,
    }


def settings_line(settings: ChatSettings) -> str:
    """Return what is set, in words; "" if it is as at first."""
    from cecochat.client import FOR_GOOD

    until, words = settings.muted_until, []
    if until and until > datetime.now(UTC):
        forever = until >= FOR_GOOD
        words.append("muted" if forever else f"muted until {until.astimezone():%Y-%m-%d %H:%M}")
    for word in ("archived", "pinned", "accepted"):
        words += [word] * getattr(settings, word)
    return ", ".join(words)
