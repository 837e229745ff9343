"""Says in words what somebody should look at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cecochat.domain.cluster.balance import ranges
from cecochat.overview.cluster import Cluster
from cecochat.overview.ownership import View
from cecochat.ports.discovery import OPTIONAL

APPEND_WAIT_S = 5.0  # as the alert AppendsWait
WAITS = (
    "{server_id} has waited {wait_s:.0f} s for the log to take an append: sends wait, and nothing "
    "that was acknowledged is lost"
)
NO_PARTITION = "no partition is assigned"
UNREAD = "the assignment cannot be read now: {why}"
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


def what_is_wrong(seen: Cluster, view: View | None, unread: str = "") -> list[str]:
    """List what somebody should look at; it is empty if all is well.

    `unread` says why the assignment cannot be read now. `view` is what was read before, if it was.
    """
    return [*_servers(seen), *_assignment(view, unread), *_messages(seen)]


def _servers(seen: Cluster) -> Iterator[str]:
    for service, live in seen.servers.items():
        if not live and service not in OPTIONAL:
            yield f"no {service} server is live"
    if seen.leader is None and "control" in seen.servers:
        yield "no control server leads"
    yield from (UNPROVEN.format(**each._asdict()) for each in seen.unproven)
    for server_id, why in seen.not_ready.items():
        if why:
            yield f"{server_id} is not ready: {why}"
    for service, live in seen.servers.items():
        wanted = seen.sets.get(service, {}).get("wanted")
        if wanted is not None and len(live) < wanted:
            yield f"{len(live)} of {wanted} {service} servers are live"


def _assignment(view: View | None, unread: str) -> Iterator[str]:
    if unread:
        yield UNREAD.format(why=unread)
    elif view is None:
        yield NO_PARTITION
    for state, count in view.states().items() if view else ():
        if state != "owned":
            yield f"{count} partitions: {state}"


def _messages(seen: Cluster) -> Iterator[str]:
    for server_id, wait_s in seen.append_wait_s.items():
        if wait_s > APPEND_WAIT_S:
            yield WAITS.format(server_id=server_id, wait_s=wait_s)
    yield from (LATE[task].format(**found) for task, found in seen.late.items() if task in LATE)
    if seen.missing:
        partitions = ranges({each["partition"] for each in seen.missing})
        rows = f"{len(seen.missing):,} row{'s' if len(seen.missing) != 1 else ''}"
        yield MISSING.format(rows=rows, partitions=partitions)
    yield from (_lacks(partition, origins) for partition, origins in sorted(seen.lacking.items()))
    if seen.holes is None and seen.servers["history"]:
        yield "no history server answers whether acknowledged messages are missing"
    yield from (hole_in_words(each) for each in seen.holes or () if is_open(each))


def _lacks(partition: int, origins: list[int]) -> str:
    return (
        f"users of partition {partition} lack messages from partitions {ranges(origins)}, which "
        "were asked for and do not come: they are only in the history"
    )


def is_open(hole: dict[str, Any]) -> bool:
    """Return whether no operator has acknowledged a hole."""
    return not hole["acknowledged_at_ms"]


def hole_in_words(hole: dict[str, Any]) -> str:
    """Describe a hole that nobody has acknowledged, on one line."""
    lacks = "devices" if hole["reason"] == "uncopied" else "the history"
    chat = f" of {hole['chat_id']}" if hole["chat_id"] else ""
    return (
        f"{lacks} may lack acknowledged messages{chat}: hole {hole['name']}, {hole['reason']}, "
        f"{hole['text']}; see `cecochat holes list`, then `cecochat holes ack {hole['name']}`"
    )
