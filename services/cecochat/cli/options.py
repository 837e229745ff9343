"""The options that commands share."""

from __future__ import annotations

from pathlib import Path
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
SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        metavar="FILE",
        envvar="CECOCHAT_SETTINGS_FILE",
        help="Settings, a line CECOCHAT_NAME=value each; the environment comes before them.",
    ),
]
