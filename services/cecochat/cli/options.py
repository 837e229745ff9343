"""The options that commands share."""

from __future__ import annotations

from typing import Annotated

import typer

As = Annotated[
    str | None,
    typer.Option("--as", metavar="USER", help="The user to be. Development mode makes a token."),
]
Connect = Annotated[
    str | None,
    typer.Option(
        "--connect",
        metavar="URL",
        envvar="CECOCHAT_CONNECT_URL",
        help="The connect server; default: what `cecochat up` started last.",
    ),
]
Token = Annotated[
    str | None,
    typer.Option("--token", envvar="CECOCHAT_TOKEN", help="The token of the user to be."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
