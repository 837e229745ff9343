"""`cecochat audit`: checks whether the history has everything that the log says, and repairs it."""

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
        help="Compare only what was sent since then: 30m, 12h, 7d, or a time such as "
        "2026-11-27T08:00. By default, everything in the log is compared.",
    ),
]
Server = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="The internal listener of a materialize server. By default those that Consul lists, "
        "or else that of the last `cecochat up`.",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("audit", epilog="Example: cecochat audit --since 24h --repair")(audit)


def audit(
    since: Since = None,
    partition: Annotated[
        int | None, typer.Option(min=0, help="Compare only this partition. By default all.")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Write what is missing again, while the system runs.")
    ] = False,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Show what the servers find on their own, until Ctrl-C."),
    ] = False,
    server: Server = None,
    settings: options.SettingsFile = None,
    json: options.Json = False,
) -> None:
    """Compare the log with the history, and print what is missing there.

    Every message is compared byte for byte, and so are the lists of chats and the marks. The
    materialize servers do it while everything goes on. What has not been written to the history
    yet does not count as missing.

    It also names what the log hides, because records have vanished or cannot be read any more.

    The exit code is 1 if rows are missing and were not repaired, or if the log hides anything, and
    3 if nobody could compare.
    """
    from cecochat.cli.data import auditing

    if follow:
        if since or repair or partition is not None:
            raise UsageError(
                "--follow only shows what is found: leave out --since, --partition and --repair"
            )
        run(auditing.follow(server, settings, json))
        return
    wanted = auditing.Wanted(partition, _since_ms(since, datetime.now().astimezone()), repair)
    report = run(auditing.audit(wanted, server, settings, json))
    if report.hidden or (report.missing and not repair):
        raise typer.Exit(1)


def _since_ms(text: str | None, now: datetime) -> int:
    """Return a time in ms since 1970. Raises `UsageError`."""
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
                f"--since {text} is not a time: use 30m, 12h, 7d or one such as 2026-11-27T08:00"
            ) from None
    return int(at.timestamp() * 1_000)
