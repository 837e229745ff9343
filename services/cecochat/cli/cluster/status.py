"""`cecochat status`: shows the whole system on one screen."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import typer

from cecochat.cli import options
from cecochat.cli.asking import ask_history, asking
from cecochat.cli.cluster import control
from cecochat.cli.errors import Failed
from cecochat.cli.failure import run
from cecochat.cli.output import echo, json_line, print_table

SHOWN = ("servers", "control", "partitions", "missing", "wrong")


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("status", epilog="Example: cecochat status --settings backends.env")(status)


def status(settings: options.SettingsFile = None, json: options.Json = False) -> None:
    """Print the servers and partitions of a system, and what is wrong with it.

    A line for each kind of server has their number, what they carry and their versions. For a
    system in one process, its history server is asked. The exit code is 1 if something is wrong.
    """
    facts = run(_look(settings))
    if json:
        json_line({name: facts[name] for name in SHOWN})
    else:
        _print(facts)
    if facts["wrong"]:
        raise typer.Exit(1)


async def _look(file: Path | None) -> dict[str, Any]:
    from cecochat.cli.cluster import cluster, ownership
    from cecochat.overview.facts import as_json

    async with ownership.opened(file, None) as (configuration, discovery):
        if discovery is None:
            return await ask_history("overview", "wrong", "read", None, file)
        ask = asking(file, None, "read")
        seen = await cluster.look_through(discovery, ask)
        try:
            view = await ownership.view_through(configuration, discovery, ask)
        except Failed:
            return as_json(seen, None)  # no partition is assigned
        return as_json(seen, view)


def _print(facts: dict[str, Any]) -> None:
    sets = facts["control"]["sets"] if facts["control"] else {}
    carried = {line[0]: line[1:] for line in control.sets(sets)}
    lines = [("SET", "WANTED", "LIVE", "LIMITS", "CARRIES", "VERSIONS", "DEPLOYMENT")]
    for service, live in facts["servers"].items():
        versions = Counter(each["version"] for each in live)
        shown = ", ".join(
            version if len(versions) == 1 else f"{count} of {version}"
            for version, count in sorted(versions.items())
        )
        wanted, _, *rest = carried.get(service, ("", "", "", ""))
        rollout = sets.get(service, {}).get("rollout", "")
        lines.append((service, wanted, str(len(live)), *rest, shown, rollout))
    print_table(lines)
    states = ", ".join(f"{count} {state}" for state, count in facts["partitions"].items())
    nothing = "not known" if facts.get("unread") else "none"
    echo(f"\npartitions: {states or nothing}")
    for each in facts["servers"].get("history", ())[:1]:
        echo(f"operator's page: {each['health_url']}/")
    for each in facts["wrong"]:
        echo(each, "WRONG  ", fg="red")
