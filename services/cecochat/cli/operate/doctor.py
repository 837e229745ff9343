"""`cecochat doctor`: tells what is wrong with this machine, and how to fix it."""

from __future__ import annotations

import typer

from cecochat.cli import options
from cecochat.cli.output import echo, json_line

SIGNS = {"ok": ("ok", "green"), "warning": ("warn", "yellow"), "wrong": ("WRONG", "red")}


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("doctor", epilog="Example: cecochat doctor --data /srv/chat")(doctor)


def doctor(
    data: options.Data = None,
    file: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Check this machine, and say how to fix what is wrong.

    The exit code is 1 if something is wrong.
    """
    from cecochat.cli.operate.checks import examine
    from cecochat.cli.target import chosen

    settings = chosen(data, file)
    findings = examine(settings.data_dir, settings)
    for check, result, found, mend in findings:
        if json:
            json_line({"check": check, "result": result, "found": found, "mend": mend})
            continue
        text, colour = SIGNS[result]
        echo(f"  {check:<13}  {found}", f"{text:<5}", fg=colour)
        if mend:
            echo(f"{'':22}-> {mend}")
    if any(finding.result == "wrong" for finding in findings):
        raise typer.Exit(1)
