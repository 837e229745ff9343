"""`cecochat token`: a token of any user, in development mode."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from cecochat.cli import options
from cecochat.cli.failure import UsageError
from cecochat.cli.output import echo
from cecochat.cli.target import target

UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("token", epilog="Example: CECOCHAT_TOKEN=$(cecochat token alice --lifetime 8h)")(
        token
    )


def token(
    user: Annotated[str, typer.Argument(help="The user id that the token proves.")],
    lifetime: Annotated[str, typer.Option(help="How long it holds: 90s, 15m, 1h, 7d.")] = "1h",
    connect: options.Connect = None,
    secret_file: Annotated[
        Path | None, typer.Option(help="The secret; default: that of the last `cecochat up`.")
    ] = None,
) -> None:
    """Print a development token. In production, the embedding application makes tokens."""
    from cecochat.runtime.private import drawn_secret
    from cecochat.runtime.tokens import mint

    path = secret_file or target(connect).secret_file
    if path is None or not path.exists():
        raise UsageError(
            "the secret of this system is not on this machine: name its file with --secret-file, "
            "or have the application's back end make the token"
        )
    echo(mint(drawn_secret(path), user, seconds(lifetime)))


def seconds(text: str) -> float:
    """`90s`, `1.5h`, `7d`; a number alone is seconds. Raises `UsageError`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip())
    if not match or not float(match[1]):
        raise UsageError(f"{text!r} is no time: use a number and s, m, h or d, such as 1h")
    return float(match[1]) * UNITS_S[match[2] or "s"]
