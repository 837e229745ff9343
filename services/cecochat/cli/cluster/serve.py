"""`cecochat serve`: runs one server of a cluster in the foreground."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from cecochat.cli import logs, options
from cecochat.cli.output import echo, json_line

if TYPE_CHECKING:
    from cecochat.ports.discovery import Instance, Service
    from cecochat.settings.settings import Settings

Ready = Annotated[
    bool, typer.Option("--json", help="Once ready, print one line of JSON with its addresses.")
]
Attached = Annotated[
    bool, typer.Option("--attached", help="Also stop when standard input ends.", hidden=True)
]

app = typer.Typer(
    no_args_is_help=True,
    help="Run one server of a cluster, with settings from CECOCHAT_* variables or a file of them.",
)

MEANING: dict[Service, str] = {
    "messaging": "Owns partitions of the log and serves the streams of their users.",
    "materialize": "Turns the log into the history.",
    "history": "Answers queries about the history.",
    "connect": "Tells clients where to go.",
    "control": "Decides which messaging server owns which partition.",
    "hooks": "Sends webhooks.",
}


def add_to(root: typer.Typer) -> None:
    """Register the commands."""
    for service, meaning in MEANING.items():
        example = f"Example: CECOCHAT_KAFKA=kafka:9092 ... cecochat serve {service}"
        app.command(service, help=meaning, epilog=example)(_command(service))
    root.add_typer(app, name="serve")


def _command(service: Service) -> Callable[..., None]:
    def serve(
        settings: options.SettingsFile = None, json: Ready = False, attached: Attached = False
    ) -> None:
        from cecochat.runtime.parts import new_instance_id
        from cecochat.settings.settings import load

        loaded, instance_id = load(file=settings), new_instance_id(service)
        logs.to_standard_error(loaded.log_format, service, instance_id, level=logging.INFO)
        _serve(service, instance_id, loaded, json, attached)

    return serve


def _serve(
    service: Service, instance_id: str, settings: Settings, as_json: bool, attached: bool
) -> None:
    import uvloop

    from cecochat.run import system

    def ready(server: Instance) -> None:
        if as_json:
            json_line(server._asdict())
        else:
            echo(f"{server.instance_id} is ready at {server.address} ({server.health_url}/readyz)")
        sys.stdout.flush()

    server = system.serving(settings, service, instance_id)
    uvloop.run(system.run(server, ready, attached=attached))
