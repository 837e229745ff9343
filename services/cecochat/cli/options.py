"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

As = Annotated[
    str | None,
    typer.Option(
        "--as", metavar="USER", help="Act as this user. In development mode, a token is made."
    ),
]
Connect = Annotated[
    str | None,
    typer.Option(
        "--connect",
        metavar="URL",
        envvar="CECOCHAT_CONNECT_URL",
        help="The connect server. By default that of the last `cecochat up`.",
    ),
]
Token = Annotated[
    str | None,
    typer.Option("--token", envvar="CECOCHAT_TOKEN", help="The token of the user to act as."),
]
Chat = Annotated[
    str,
    typer.Argument(
        metavar="USER", help="The user at the other end, or a chat id, such as g:hikers."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]
Data = Annotated[
    Path | None, typer.Option(help="The data folder. By default that of the last `cecochat up`.")
]
SettingsFile = Annotated[
    Path | None,
    typer.Option(
        "--settings",
        metavar="FILE",
        envvar="CECOCHAT_SETTINGS_FILE",
        help="A file of settings, one CECOCHAT_NAME=value per line. Environment variables override "
        "them.",
    ),
]
