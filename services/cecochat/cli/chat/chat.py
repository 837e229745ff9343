"""`cecochat chat`: a conversation in the terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from cecochat.cli import options
from cecochat.cli.failure import run


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("chat", epilog="Example: cecochat chat --as alice bob")(chat)


def chat(
    peer: Annotated[str, typer.Argument(metavar="USER", help="The user to chat with.")],
    as_: options.As = None,
    connect: options.Connect = None,
    token: options.Token = None,
) -> None:
    """Chat with another user.

    It shows what you missed, how far each of your messages got (… on its way, ✓ sent,
    ✓✓ delivered, ✓✓ read), and whether the other user is online or typing. Ctrl-D leaves. A message
    that could not be sent by then is sent the next time.

    `/edit TEXT` and `/delete` change your last message, and `/react 👍` reacts to the other user's.
    """
    from cecochat.cli.chat.window import converse

    run(converse(peer, as_, connect, token))
