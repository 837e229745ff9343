"""`cecochat status`: shows the whole cluster on one screen."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from cecochat.cli import options
from cecochat.cli.asking import asking
from cecochat.cli.cluster import control
from cecochat.cli.errors import Failed
from cecochat.cli.failure import run
from cecochat.cli.operate import holes
from cecochat.cli.output import echo, json_line, print_table
from cecochat.domain.cluster.balance import ranges

if TYPE_CHECKING:
    from cecochat.cli.cluster.cluster import Cluster
    from cecochat.cli.cluster.ownership import View

LATE = {
    "materialize": "{records:,} records have waited too long to be written to the history, in "
    "partitions {partitions}",
    "forward": "{records:,} records have waited too long to be forwarded to their recipients, in "
    "partitions {partitions}",
    "drop": "the log keeps {records:,} records that are older than its retention, in partitions "
    "{partitions}: something needs them or they cannot be dropped, and disks fill up",
}
MISSING = (
    "the history lacks {rows} of the log, in partitions {partitions}, and nobody has repaired "
    "that: `cecochat audit` names them"
)
UNPROVEN = (
    "{registered_id} at {address} in Consul is not signed with the cluster's secret, so nobody is "
    "sent there: either it is not our server, or it has another CECOCHAT_CLUSTER_SECRET_FILE"
)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("status", epilog="Example: cecochat status --settings backends.env")(status)


def status(settings: options.SettingsFile = None, json: options.Json = False) -> None:
    """Print the server sets and partitions of a cluster, and what is wrong with it.

    A line for each set has its size, what it carries and its versions. The exit code is 1 if
    something is wrong.
    """
    seen, view = run(_look(settings))
    wrong = _wrong(seen, view)
    if json:
        json_line({**_as_json(seen, view), "wrong": wrong})
    else:
        _print(seen, view, wrong)
    if wrong:
        raise typer.Exit(1)


async def _look(file: Path | None) -> tuple[Cluster, View | None]:
    from cecochat.cli.cluster import cluster, ownership

    async with ownership.opened(file, None) as (configuration, discovery):
        ask = asking(file, None, "read")
        seen = await cluster.look_through(discovery, ask)
        try:
            return seen, await ownership.view_through(configuration, discovery, ask)
        except Failed:
            return seen, None  # no partition is assigned


def _states(view: View | None) -> Counter[str]:
    states = Counter[str]()
    for row in view.rows() if view else ():
        states[row.state] += len(row.partitions)
    return +states


def _wrong(seen: Cluster, view: View | None) -> list[str]:
    """List what somebody should look at."""
    wrong = [f"no {service} server is live" for service, live in seen.servers.items() if not live]
    if seen.leader is None:
        wrong.append("no control server leads")
    wrong += [UNPROVEN.format(**each._asdict()) for each in seen.unproven]
    for server_id, why in seen.ready.items():
        if why:
            wrong.append(f"{server_id} is not ready: {why}")
    for service, live in seen.servers.items():
        wanted = seen.sets.get(service, {}).get("wanted")
        if wanted is not None and len(live) < wanted:
            wrong.append(f"{len(live)} of {wanted} {service} servers are live")
    for state, count in _states(view).items():
        if state != "owned":
            wrong.append(f"{count} partitions: {state}")
    wrong += [LATE[task].format(**found) for task, found in seen.late.items() if task in LATE]
    if seen.missing:
        partitions = ranges({each["partition"] for each in seen.missing})
        rows = f"{len(seen.missing):,} row{'s' if len(seen.missing) != 1 else ''}"
        wrong.append(MISSING.format(rows=rows, partitions=partitions))
    wrong += [_lacks(partition, origins) for partition, origins in sorted(seen.lacking.items())]
    if seen.holes is None and seen.servers["history"]:
        wrong.append("no history server answers whether acknowledged messages are missing")
    wrong += [holes.wrong(each) for each in seen.holes or () if holes.is_open(each)]
    return wrong if view else [*wrong, "no partition is assigned"]


def _lacks(partition: int, origins: list[int]) -> str:
    return (
        f"users of partition {partition} lack messages from partitions {ranges(origins)}, which "
        "were asked for and do not come: they are only in the history"
    )


def _as_json(seen: Cluster, view: View | None) -> dict[str, Any]:
    servers = {
        service: [{**each._asdict(), "not_ready": seen.ready[each.instance_id]} for each in live]
        for service, live in seen.servers.items()
    }
    return {
        "servers": servers,
        "control": seen.leader,
        "partitions": dict(_states(view)),
        "missing": list(seen.missing),
    }


def _print(seen: Cluster, view: View | None, wrong: list[str]) -> None:
    carried = {line[0]: line[1:] for line in control.sets(seen.sets)}
    lines = [("SET", "WANTED", "LIVE", "LIMITS", "CARRIES", "VERSIONS", "DEPLOYMENT")]
    for service, live in seen.servers.items():
        versions = Counter(each.version for each in live)
        shown = ", ".join(
            version if len(versions) == 1 else f"{count} of {version}"
            for version, count in sorted(versions.items())
        )
        wanted, _, *rest = carried.get(service, ("", "", "", ""))
        rollout = seen.sets.get(service, {}).get("rollout", "")
        lines.append((service, wanted, str(len(live)), *rest, shown, rollout))
    print_table(lines)
    states = ", ".join(f"{count} {state}" for state, count in _states(view).items())
    echo(f"\npartitions: {states or 'none'}")
    for each in wrong:
        echo(each, "WRONG  ", fg="red")
