"""The command line `cecochat`.

Exit codes: 0 done, 1 failed, 2 used wrongly, 3 no answer, 4 refused by the server,
130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib import import_module

import typer

from cecochat.cli import logs
from cecochat.cli.failure import judge

EPILOG = (
    "Exit codes: 0 done, 1 failed, 2 used wrongly, 3 no answer, 4 refused by the server, "
    "130 interrupted."
)

COMMANDS = {
    "Chat": {
        "chat": "chat.chat",
        "send": "chat.send",
        "edit": "chat.change",
        "delete": "chat.change",
        "react": "chat.change",
        "group": "chat.group",
        "history": "chat.history",
        "chats": "chat.history",
        "search": "chat.search",
        "download": "chat.download",
        "set": "chat.settings",
        "connect": "chat.connect",
        "token": "chat.token",
    },
    "Run a system": {
        "up": "cluster.up",
        "systems": "cluster.systems",
        "doctor": "operate.doctor",
        "apps": "operate.apps",
        "config": "cluster.config",
        "revoke": "operate.revoke",
        "moderate": "operate.moderate",
        "hooks": "operate.hooks",
        "status": "cluster.status",
    },
    "Privacy": {
        "retention": "privacy.retention",
        "takeout": "privacy.takeout",
        "erase": "privacy.erase",
        "hold": "privacy.hold",
        "sealing": "privacy.sealing",
    },
    "Find out what happened": {
        "where": "operate.where",
        "trace": "operate.trace",
        "audit": "data.audit",
        "holes": "operate.holes",
        "dead": "data.dead",
    },
    "Move data": {
        "import": "data.importing",
        "export": "data.export",
        "restore": "data.restore",
    },
    "Run a cluster": {
        "serve": "cluster.serve",
        "edge": "cluster.edge",
        "partitions": "cluster.partitions",
        "control": "cluster.control",
        "deploy": "cluster.deploy",
    },
}
"""Heading in `--help` -> command -> its module, which has `add_to`."""


def _version(wanted: bool) -> None:
    if wanted:
        from cecochat import __version__

        typer.echo(f"cecochat {__version__}")
        raise typer.Exit


def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    pass


def app(arguments: list[str]) -> typer.Typer:
    """Return the command line. Only what the arguments need of it is imported."""
    made = typer.Typer(
        name="cecochat",
        help="A chat back end that never loses, doubles or silently omits an acknowledged message.",
        epilog=EPILOG,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",  # it fits paragraphs to the terminal
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback()(_root)
    every = {name for commands in COMMANDS.values() for name in commands}
    first = arguments[0] if arguments else ""
    wanted = {first} if first in every or first == "--version" else every
    for heading, commands in COMMANDS.items():
        _add(made, heading, dict.fromkeys(commands[name] for name in commands if name in wanted))
    return made


def _add(made: typer.Typer, heading: str, modules: Iterable[str]) -> None:
    before = len(made.registered_commands), len(made.registered_groups)
    for module in modules:
        import_module(f"cecochat.cli.{module}").add_to(made)
    for each in made.registered_commands[before[0] :] + made.registered_groups[before[1] :]:
        each.rich_help_panel = heading


def main() -> None:
    """Run the command line. An error becomes one line on standard error, and an exit code."""
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type] # a command of its own
    try:
        app(sys.argv[1:])()
    except BrokenPipeError:  # `cecochat history ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - `judge` raises what nobody expected
        text, code = judge(error)
        logs.say(text)
        sys.exit(code)
