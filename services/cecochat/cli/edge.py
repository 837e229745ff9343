"""`cecochat edge`: HAProxy in front of what clients reach."""

from __future__ import annotations

import logging
import sys

import typer

from cecochat.cli import logs, options
from cecochat.cli.failure import run as finish

app = typer.Typer(
    no_args_is_help=True,
    help="HAProxy in front of the servers of this machine; settings are CECOCHAT_EDGE and so on.",
)


def add_to(root: typer.Typer) -> None:
    """Register the commands."""
    example = "Example: CECOCHAT_EDGE=chat.example.com:8443 cecochat edge"
    app.command("show", epilog=f"{example} show > haproxy.cfg")(show)
    app.command("run", epilog=f"{example} run")(run)
    root.add_typer(app, name="edge")


def show(settings: options.SettingsFile = None) -> None:
    """Print the configuration for a `cecochat up` with these settings, and let HAProxy check it
    where that is installed.
    """
    from cecochat.edge import configuration, haproxy
    from cecochat.runtime.settings import load

    loaded = load(file=settings)
    text = configuration.written(loaded, configuration.of_one_machine(loaded))
    if haproxy.program():
        finish(haproxy.check(text))
    else:
        logs.say("HAProxy is not on this machine: nobody has checked this", logging.WARNING)
    typer.echo(text, nl=False)


def run(settings: options.SettingsFile = None) -> None:
    """Run HAProxy in front of the servers of this machine, which `cecochat up` or Consul names.

    It takes a changed certificate, and servers that come and go, without ending a stream.
    """
    import uvloop

    from cecochat import system
    from cecochat.edge.main import edge
    from cecochat.runtime.settings import load

    loaded = load(file=settings)
    logs.to_standard_error(loaded.log_format, "edge", "edge", level=logging.INFO)

    def ready(url: str) -> None:
        typer.echo(f"The edge is ready at {url}/v1/connect")
        sys.stdout.flush()

    uvloop.run(system.run(edge(loaded), ready))
