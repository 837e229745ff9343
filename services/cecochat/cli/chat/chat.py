"""`cecochat chat`: a conversation in the terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from cecochat.cli import options
from cecochat.cli.failure import run


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    example = "Example: cecochat chat --as alice bob; cecochat chat --as alice g:hikers"
    app.command("chat", epilog=example)(chat)


def chat(
    peer: Annotated[
        str,
        typer.Argument(
            metavar="USER", help="The user to chat with, or a group's chat id, such as g:hikers."
        ),
    ],
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
) -> None:
    """Chat with another user, or in a group.

    It shows what you missed, how far each of your messages got (… on its way, ✓ sent,
    ✓✓ delivered, ✓✓ read), and whether the other user is online or typing. Ctrl-D leaves. A message
    that could not be sent by then is sent the next time.

    `/edit TEXT` and `/delete` change your last message, and `/react 👍` reacts to the last one of
    somebody else.

    In a group it also shows who comes and goes, and of your messages only whether they are sent.
    Who is online is not shown there. `cecochat group` changes who belongs to a group.
    """
    from cecochat.cli.chat.window import converse

    run(converse(peer, as_, connect, token))
