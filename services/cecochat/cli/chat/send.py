"""`cecochat send`: sends messages from the command line or standard input, pipelined."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cecochat.cli import options
from cecochat.cli.chat.sender import sender
from cecochat.cli.errors import SomeRefused, UsageError
from cecochat.cli.failure import run, say
from cecochat.cli.output import echo, json_line
from cecochat.cli.tracing import tracing

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Sequence

    from cecochat.client import Client

    Answers = asyncio.Queue[asyncio.Future[int] | None]

SILENT_S = 2.0  # a send that takes longer says that it waits


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("send", epilog="Example: cecochat send --as alice bob 'See you at eight.'")(send)


def send(
    to: options.Chat,
    text: Annotated[
        str, typer.Argument(help="The text, or `-` to send each line of standard input.")
    ] = "",
    attach: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A file to send with the message; up to 10 of them."),
    ] = None,
    reply_to: Annotated[
        int,
        typer.Option(metavar="ID", min=0, help="The id of the message that this one answers."),
    ] = 0,
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
    json: options.Json = False,
    trace: Annotated[
        bool,
        typer.Option("--trace", help="Trace the messages. CECOCHAT_OTLP_URL says where spans go."),
    ] = False,
) -> None:
    """Send messages, and print the id of each once it can no longer be lost.

    A message that carries files needs no text.
    """
    if attach and text == "-":
        raise UsageError("--attach is for one message: give its text, or none")
    if not attach and not text:
        raise UsageError("there is no text: give one, or --attach FILE")
    with tracing() if trace else nullcontext(nullcontext()) as span:
        run(_send(to, text, attach or (), reply_to, as_, connect, token, json, span))


async def _send(
    to: str,
    text: str,
    files: Sequence[Path],
    reply_to: int,
    as_: str | None,
    url: str | None,
    token: str | None,
    as_json: bool,
    span: AbstractContextManager[object],
) -> None:
    import asyncio

    async with sender(as_, url, token) as client:
        answers: Answers = asyncio.Queue(maxsize=1_000)
        with span:
            async with asyncio.TaskGroup() as group:
                group.create_task(_post(client, to, text, files, reply_to, answers))
                sent, refused = await _print_ids(answers, as_json)
    if refused:
        raise SomeRefused(f"{refused} of {refused + sent} messages were refused")


async def _post(
    client: Client,
    to: str,
    text: str,
    files: Sequence[Path],
    reply_to: int,
    answers: Answers,
) -> None:
    from uuid import uuid4

    if text == "-":
        async for line in _lines():
            await answers.put(await client.post(to, line, reply_to_id=reply_to))
    else:
        id_ = uuid4().hex
        attached = [await client.files.upload(to, each, client_message_id=id_) for each in files]
        posted = await client.post(
            to, text, client_message_id=id_, reply_to_id=reply_to, attachments=attached
        )
        await answers.put(posted)
    await answers.put(None)


async def _lines() -> AsyncIterator[str]:
    """Yield the lines of standard input that are not empty. Raises `UsageError`."""
    import asyncio

    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        try:
            text = line.decode().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise UsageError(
                f"standard input is not UTF-8 ({error.reason}) at {line[:40]!r}: convert it first"
            ) from None
        if text:
            yield text


async def _says_that_it_waits(answer: asyncio.Future[int]) -> bool:
    import asyncio

    if not answer.done():
        await asyncio.wait({answer}, timeout=SILENT_S)
    if not answer.done():
        say(
            "no server has accepted this message yet; it is sent again until one does. After "
            "Ctrl-C it may still be accepted"
        )
    return not answer.done()


async def _print_ids(answers: Answers, as_json: bool) -> tuple[int, int]:
    """Print ids in the order of sending. Return how many were sent and how many refused."""
    from cecochat.client import SendRejected

    sent = refused = 0
    waits = False
    while answer := await answers.get():
        waits = waits or await _says_that_it_waits(answer)
        try:
            message_id = await answer
        except SendRejected as error:
            refused += 1
            say(f"refused ({error.code}): {error}")
            continue
        sent += 1
        if as_json:
            json_line({"message_id": str(message_id)})
        else:
            echo(message_id)
    return sent, refused
