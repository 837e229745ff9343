"""`cecochat download`: saves the files that a message carries."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cecochat.cli import options
from cecochat.cli.chat.sender import sender
from cecochat.cli.errors import UsageError
from cecochat.cli.failure import run
from cecochat.cli.output import echo, json_line

if TYPE_CHECKING:
    from cecochat.client import Client, Message


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    example = "Example: cecochat download --as bob alice 29104563847168 --into Downloads"
    app.command("download", epilog=example)(download)


def download(
    chat: options.Chat,
    message_id: Annotated[int, typer.Argument(help="The id of the message.")],
    into: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Where to save. Nothing there is overwritten."),
    ] = Path(),
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Save the files that a message carries, and print where they are."""
    try:
        into.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{into} cannot be made: {error.strerror}") from None
    for path in run(_download(chat, message_id, into, as_, connect, token)):
        if json:
            json_line({"path": str(path)})
        else:
            echo(path)


async def _download(
    chat: str, message_id: int, into: Path, as_: str | None, url: str | None, token: str | None
) -> list[Path]:
    async with sender(as_, url, token) as client:
        message = await _message(client, chat, message_id)
        saved: list[Path] = []
        for each in message.attachments:
            path = free(into, each.name, saved)
            try:
                await client.files.save(message, each, path)
            except OSError as error:
                raise UsageError(f"{path} cannot be written: {error.strerror}") from None
            saved.append(path)
    return saved


async def _message(client: Client, chat: str, message_id: int) -> Message:
    page = await client.history(chat, 1, before=message_id + 1)
    for message in page.messages:
        if message.id == message_id and message.attachments:
            return message
    raise UsageError(f"there is no message {message_id} with files in this chat")


def free(folder: Path, name: str, taken: list[Path]) -> Path:
    """Return where a file of that name can be saved. Nothing in the name leads out of the folder,
    and nobody who sends a file can hide it.
    """
    plain = Path(name).name.lstrip(".") or "file"
    stem, suffix = Path(plain).stem, Path(plain).suffix
    path, number = folder / plain, 1
    while path.exists() or path in taken:
        number += 1
        path = folder / f"{stem} ({number}){suffix}"
    return path
