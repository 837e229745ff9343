"""The command line `cecochat`.

Exit codes: 0 done, 1 failed, 2 used wrongly, 3 no answer, 4 refused by the server,
130 interrupted.
"""

from __future__ import annotations

import os
import sys

import typer

from cecochat.cli import logs
from cecochat.cli.chat import chat, connect, history, send, token
from cecochat.cli.cluster import config, control, deploy, edge, partitions, serve, status, up
from cecochat.cli.data import audit, dead, export, importing, restore
from cecochat.cli.failure import judge
from cecochat.cli.operate import doctor, holes, revoke, trace, where

EPILOG = (
    "Exit codes: 0 done, 1 failed, 2 used wrongly, 3 no answer, 4 refused by the server, "
    "130 interrupted."
)

app = typer.Typer(
    name="cecochat",
    help="A chat back end that never loses, doubles or silently omits an acknowledged message.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # it fits paragraphs to the terminal
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from cecochat import __version__

        typer.echo(f"cecochat {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    pass


COMMANDS = (
    up,
    chat,
    send,
    history,
    connect,
    token,
    revoke,
    doctor,
    importing,
    export,
    restore,
    config,
    serve,
    edge,
    status,
    where,
    holes,
    dead,
    audit,
    partitions,
    control,
    deploy,
    trace,
)
for module in COMMANDS:
    module.add_to(app)


def main() -> None:
    """Run the command line. An error becomes one line on standard error, and an exit code."""
    try:
        app()
    except BrokenPipeError:  # `cecochat history ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - `judge` raises what nobody expected
        text, code = judge(error)
        logs.say(text)
        sys.exit(code)
