"""`cecochat systems`: lists what `cecochat up` has started on this machine."""

from __future__ import annotations

import typer

from cecochat.cli import options, systems
from cecochat.cli.output import echo, json_line, print_table


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("systems", epilog="Example: cecochat systems")(list_systems)


def list_systems(json: options.Json = False) -> None:
    """List the systems that `cecochat up` has started here, the one that commands use first."""
    found = systems.known()
    if json:
        for each in found:
            json_line({"connect": each.connect, "data": each.data, "runs": each.runs})
    elif found:
        lines = [(each.connect, "runs" if each.runs else "ended", each.data) for each in found]
        print_table([("CONNECT", "STATE", "DATA"), *lines])
    else:
        echo("there is none: start one with `cecochat up`")
