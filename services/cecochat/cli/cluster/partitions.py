"""`cecochat partitions`: shows which messaging server owns which partition, and moves them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cecochat.cli import options
from cecochat.cli.errors import UsageError
from cecochat.cli.failure import run
from cecochat.cli.output import echo, json_line, print_table
from cecochat.domain.cluster.balance import Group, after, grouped, may_balance, ranges, why
from cecochat.domain.cluster.balance import plan as planned

if TYPE_CHECKING:
    from cecochat.overview.ownership import View

PART = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?")

Data = Annotated[
    Path | None,
    typer.Option(help="The data folder of `cecochat up`, if CECOCHAT_REDIS is not set."),
]

app = typer.Typer(
    no_args_is_help=True, help="Show and change which messaging server owns which partition."
)


def add_to(root: typer.Typer) -> None:
    """Register the commands."""
    root.add_typer(app, name="partitions")


@app.command(epilog="Example: cecochat partitions show")
def show(
    settings: options.SettingsFile = None, data: Data = None, json: options.Json = False
) -> None:
    """Print which server has which partitions, and whether it owns them yet.

    The states are: owned, taking over, silent (the server is live, but does not answer), not live,
    nobody (not assigned), and assigned (without Consul, no more is known).
    """
    from cecochat.cli.cluster import ownership

    rows = (view := run(ownership.view(settings, data, ask=True))).rows()
    if json:
        for row in rows:
            json_line(row._asdict())
        return
    echo(f"version {view.version}, by {view.changed_by}")
    lines = [("PARTITIONS", "COUNT", "SERVER", "STATE")]
    lines += [
        (ranges(row.partitions) or "-", str(len(row.partitions)), row.server_id or "-", row.state)
        for row in rows
    ]
    print_table(lines)


@app.command(epilog="Example: cecochat partitions plan")
def plan(
    settings: options.SettingsFile = None, data: Data = None, json: options.Json = False
) -> None:
    """Print what control would move now, and why. Nothing is changed."""
    from cecochat.cli.cluster import ownership

    view = run(ownership.view(settings, data, ask=False))
    live = ownership.live_ids(view)
    moves = planned(view.partitions, view.owners, live)
    now = may_balance(view.owners, live, view.changed_by)
    groups = grouped(moves)
    if json:
        for group in groups:
            reason = {"why": why(group), "now": now or group.reason != "balance"}
            json_line({**group._asdict(), **reason})
        return
    if groups:
        print_table([_line(group) for group in groups])
    echo(_verdict(view, live, groups, now))


@app.command(epilog="Example: cecochat partitions move 0-29 --to messaging-ab12")
def move(
    partitions: Annotated[str, typer.Argument(help="Numbers, such as 7, 0-29 or 1,3,5-7.")],
    to: Annotated[
        str, typer.Option(metavar="SERVER", help="The messaging server to move them to.")
    ],
    timeout: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long to wait for the takeover.")
    ] = 30.0,
    settings: options.SettingsFile = None,
    data: Data = None,
    json: options.Json = False,
) -> None:
    """Give partitions to a live server, and wait until it owns them.

    They stay there until a messaging server joins or leaves. Then control balances again.
    """
    from cecochat.cli.cluster import ownership

    moved = run(ownership.move(settings, data, parse(partitions), to, timeout))
    if json:
        json_line(moved._asdict())
    else:
        echo(
            f"{to} owns {ranges(moved.partitions)} as of version {moved.version} "
            f"({moved.took_s:.1f} s)"
        )


def parse(text: str) -> list[int]:
    """Parse partitions such as `0-3,7`. Raises `UsageError`."""
    found: set[int] = set()
    for part in text.replace(" ", "").split(","):
        if not (match := PART.fullmatch(part)):
            raise UsageError(
                f"{text!r} names no partitions: use numbers, such as 7, 0-29 or 1,3,5-7"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if first > last:
            raise UsageError(f"{part} is empty: put the lower number first")
        found.update(range(first, last + 1))
    return sorted(found)


# -- for people


def _line(group: Group) -> tuple[str, ...]:
    arrow = f"{group.source or 'nobody'} -> {group.target}"
    return ranges(group.partitions), arrow, f"{group.reason}: {why(group)}"


def _verdict(view: View, live: list[str], groups: list[Group], now: bool) -> str:
    if not live:
        return "no messaging server is live: the assignment stays as it is"
    moves = planned(view.partitions, view.owners, live)
    held = list(after(view.owners, moves).values())
    counts = [held.count(server) for server in live]
    spread = f"{view.partitions} partitions on {len(live)} live servers, "
    spread += f"{min(counts)} to {max(counts)} each"
    if not groups:
        return f"nothing to move: {spread}"
    if not now and any(group.reason == "balance" for group in groups):
        return (
            f"moves that only balance wait until a server joins or leaves, because "
            f"{view.changed_by} has assigned partitions by hand (version {view.version})"
        )
    return f"{len(moves)} moves, then {spread}"
