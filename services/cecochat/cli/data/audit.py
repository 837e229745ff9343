"""`cecochat audit`: whether the history has everything that the log says, and its repair."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

import typer

from cecochat.cli import options
from cecochat.cli.errors import UsageError
from cecochat.cli.failure import run

UNITS = {"m": "minutes", "h": "hours", "d": "days"}

Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="Only what was sent since: 30m, 12h, 7d, or a time such as 2026-11-27T08:00. "
        "Default: everything that the log holds.",
    ),
]
Server = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="HTTP port of a materialize server; default: those that Consul knows, else that of "
        "what `cecochat up` started last.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("audit", epilog="Example: cecochat audit --since 24h --repair")(audit)


def audit(
    since: Since = None,
    partition: Annotated[
        int | None, typer.Option(min=0, help="Only this partition; default: all.")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Write again what is missing, while the system runs.")
    ] = False,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Show what the servers find by themselves, until Ctrl-C."),
    ] = False,
    server: Server = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Compare the log with the history: every message, its bytes, the lists of chats and the marks.

    Materialize servers do it, while they and everybody else go on. Each row that is missing is
    named, and what is not in the history yet is none. Exit code 1 where rows are missing, and were
    not repaired; 3 where nobody could compare.
    """
    from cecochat.cli.data import auditing

    if follow:
        if since or repair or partition is not None:
            raise UsageError("--follow only shows: leave out --since, --partition and --repair")
        run(auditing.follow(server, settings, json))
        return
    wanted = auditing.Wanted(partition, _since_ms(since, datetime.now().astimezone()), repair)
    report = run(auditing.audit(wanted, server, settings, json))
    if report.missing and not repair:
        raise typer.Exit(1)


def _since_ms(text: str | None, now: datetime) -> int:
    """Ms since 1970. Raises `UsageError`."""
    if text is None:
        return 0
    number, unit = text[:-1], text[-1:]
    if number.isdecimal() and unit in UNITS and len(number) < 6:
        at = now - timedelta(**{UNITS[unit]: int(number)})
    else:
        try:
            at = datetime.fromisoformat(text).astimezone()
        except ValueError:
            raise UsageError(
                f"--since {text}: use 30m, 12h, 7d or a time such as 2026-11-27T08:00"
            ) from None
    return int(at.timestamp() * 1_000)
