"""`cecochat control`: shows what the control server sees, decides and would do, and pauses it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from cecochat.cli import options
from cecochat.cli.failure import run
from cecochat.cli.output import echo, json_line, print_table

app = typer.Typer(
    no_args_is_help=True, help="Show what the control server does and why, and pause it."
)
PAUSED = "control.paused"


def add_to(root: typer.Typer) -> None:
    """Register the commands."""
    root.add_typer(app, name="control")


@app.command(epilog="Example: cecochat control status")
def status(
    settings: options.SettingsFile = None,
    limit: Annotated[int, typer.Option(min=0, help="Print at most this many decisions.")] = 10,
    json: options.Json = False,
) -> None:
    """Print who leads, what the server sets carry, and the last decisions with their reasons."""
    from cecochat.cli.cluster import cluster

    seen = run(cluster.look(settings))
    led, decisions = cluster.led(seen), seen.decisions[:limit]
    if json:
        json_line({**led, "standby": seen.standby, "decisions": decisions})
        return
    paused = ""
    if led["paused"]:
        paused = "; it is paused, so it only moves partitions without a live owner"
    echo(f"{led['server_id']} leads, {seen.standby} stand by{paused}\n")
    print_table(sets(led["sets"]))
    if decisions:
        echo("")
        print_table([_decision(each) for each in reversed(decisions)])


@app.command(epilog="Example: cecochat control plan")
def plan(settings: options.SettingsFile = None, json: options.Json = False) -> None:
    """Print how control would change the server sets, if the load stayed as it is.

    Nothing is changed. `cecochat partitions plan` does the same for partitions.
    """
    from cecochat.cli.cluster import cluster

    led = cluster.led(run(cluster.look(settings)))
    planned = {service: of["next"] for service, of in led["sets"].items() if of.get("next")}
    if json:
        json_line(planned)
    elif not planned:
        echo("there is nothing to change: every set is as large as it should be")
    else:
        print_table(
            [
                (service, f"{led['sets'][service]['wanted']} -> {each['to']}", each["reason"])
                for service, each in planned.items()
            ]
        )


@app.command(epilog="Example: cecochat control pause")
def pause(settings: options.SettingsFile = None) -> None:
    """Stop balancing and scaling.

    The partitions of a server that dies still go to others.
    """
    version = run(_set(settings, paused=True))
    echo(f"control is paused as of version {version}; resume with: cecochat control resume")


@app.command(epilog="Example: cecochat control resume")
def resume(settings: options.SettingsFile = None) -> None:
    """Resume balancing and scaling."""
    echo(f"control acts again as of version {run(_set(settings, paused=False))}")


async def _set(file: Path | None, *, paused: bool) -> int:
    from cecochat.adapters import build
    from cecochat.cli import changes, target
    from cecochat.ports.configuration import CONFIGURATION

    async with build.configuration(target.settings(None, file)) as configuration:
        document = await changes.change(
            configuration, CONFIGURATION, lambda current: {**current, PAUSED: paused}
        )
    return document.version


def sets(seen: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the server sets as the lines of a table."""
    lines: list[tuple[str, ...]] = [("SET", "WANTED", "LIVE", "LIMITS", "CARRIES")]
    for service, one in seen.items():
        loads = [f"{each['total']:,.4g} {each['name']}" for each in one["loads"]]
        strains = [f"{each['value']:,.4g} {each['name']}" for each in one["strains"]]
        wanted, limits = "", ""
        if one["wanted"] is not None:
            wanted, limits = str(one["wanted"]), f"{one['min']}-{one['max']}"
        lines.append((service, wanted, str(one["live"]), limits, ", ".join([*loads, *strains])))
    return lines


def _decision(decision: dict[str, Any]) -> tuple[str, ...]:
    at = datetime.fromtimestamp(decision["at_ms"] / 1_000, UTC).astimezone()
    what = str(decision["kind"])
    if what == "scaled":
        what += f" {decision['service']} {decision['before']} -> {decision['to']}"
    elif "version" in decision:
        what += f" (version {decision['version']})"
    return at.strftime("%H:%M:%S"), what, str(decision["reason"])
