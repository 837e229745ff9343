"""`cecochat edge`: runs HAProxy in front of what clients reach."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cecochat.cli import logs, options, ports
from cecochat.cli.failure import run as finish

if TYPE_CHECKING:
    from cecochat.settings.settings import Settings

PortBase = Annotated[
    int | None,
    typer.Option("--port-base", help="The --port-base of `cecochat up`, if it has one."),
]

app = typer.Typer(
    no_args_is_help=True,
    help="Run HAProxy in front of the servers of this machine, as CECOCHAT_EDGE* settings say.",
)


def add_to(root: typer.Typer) -> None:
    """Register the commands."""
    example = "Example: CECOCHAT_EDGE=chat.example.com:8443 cecochat edge"
    app.command("show", epilog=f"{example} show > haproxy.cfg")(show)
    app.command("run", epilog=f"{example} run")(run)
    root.add_typer(app, name="edge")


def show(settings: options.SettingsFile = None, port_base: PortBase = None) -> None:
    """Print the configuration of HAProxy for a `cecochat up` with these settings.

    If HAProxy is installed, it checks the configuration.
    """
    from cecochat.edge import configuration, haproxy

    loaded = _loaded(settings, port_base)
    text = configuration.written(loaded, configuration.of_one_machine(loaded))
    if haproxy.program():
        finish(haproxy.check(text))
    else:
        logs.say("HAProxy is not on this machine, so nobody has checked this", logging.WARNING)
    typer.echo(text, nl=False)


def run(settings: options.SettingsFile = None, port_base: PortBase = None) -> None:
    """Run HAProxy in front of the servers that `cecochat up` or Consul names.

    It follows changed certificates, and servers that come and go, without ending a stream.
    """
    import uvloop

    from cecochat.edge.main import edge
    from cecochat.run import system

    loaded = _loaded(settings, port_base)
    logs.to_standard_error(loaded.log_format, "edge", "edge", level=logging.INFO)

    def ready(url: str) -> None:
        typer.echo(f"The edge is ready at {url}/v1/connect")
        sys.stdout.flush()

    uvloop.run(system.run(edge(loaded), ready))


def _loaded(file: Path | None, port_base: int | None) -> Settings:
    from cecochat.settings.settings import load

    row: dict[str, Any] = ports.row_from(port_base) if port_base else {}
    return load(file=file, **row)
