"""Collects what is known about a whole cluster: its live servers, and what control says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cecochat.adapters import build
from cecochat.cli import target
from cecochat.cli.asking import asking
from cecochat.cli.errors import Failed, UsageError
from cecochat.overview import cluster
from cecochat.overview.cluster import Cluster
from cecochat.ports.discovery import Discovery
from cecochat.runtime.asking import Asking
from cecochat.settings import backends

NOT_FOUND = (
    "no cluster can be found without Consul: name it with CECOCHAT_CONSUL, or in a file with "
    "--settings. What `cecochat up` runs here, `cecochat doctor` checks"
)
NOBODY = (
    "Consul lists no server: either it does not answer (clients chat on all the same), or no "
    "server runs with this CECOCHAT_NAMESPACE"
)
NOBODY_PROVEN = (
    "Consul lists {count} servers, but none has the secret of this command: name the secret of the "
    "cluster with CECOCHAT_CLUSTER_SECRET_FILE"
)


async def look(file: Path | None) -> Cluster:
    """Ask discovery, and every server over HTTP. Raises `UsageError`, `Failed`."""
    settings = target.settings(None, file)
    if not backends.is_shared("discovery", settings):
        raise UsageError(NOT_FOUND)
    async with build.discovery(settings) as discovery:
        return await look_through(discovery, asking(file, None, "read"))


async def look_through(discovery: Discovery | None, ask: Asking) -> Cluster:
    """Do the same through a discovery that is open; it is None if the settings name no Consul."""
    if discovery is None:
        raise UsageError(NOT_FOUND)
    seen = await cluster.look(discovery, ask)
    if not any(seen.servers.values()):
        count = len(seen.unproven)
        raise Failed(NOBODY_PROVEN.format(count=count) if count else NOBODY)
    return seen


def led(seen: Cluster) -> dict[str, Any]:
    """Return what the leader says. Raises `Failed` if there is none."""
    if seen.leader is None:
        live = len(seen.servers["control"])
        raise Failed(
            f"no control server leads just now ({live} are live): start one with "
            "`cecochat serve control`, or try again in some seconds"
        )
    return seen.leader
