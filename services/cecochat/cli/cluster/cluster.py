"""Collects what is known about a whole cluster: its live servers, and what control says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from cecochat.adapters import build
from cecochat.cli import target
from cecochat.cli.asking import asking
from cecochat.cli.errors import Failed, UsageError
from cecochat.ports.discovery import SERVICES, Discovery, Instance, Service, Unproven
from cecochat.runtime.asking import Asking
from cecochat.settings import backends

NOT_FOUND = (
    "no cluster can be found without Consul: name it with CECOCHAT_CONSUL, or in a file with "
    "--settings. What `cecochat up` runs here, `cecochat doctor` checks"
)
ASKED = 2  # how many history servers are asked about holes
NOBODY = (
    "Consul lists no server: either it does not answer (clients chat on all the same), or no "
    "server runs with this CECOCHAT_NAMESPACE"
)
NOBODY_PROVEN = (
    "Consul lists {count} servers, but none has the secret of this command: name the secret of the "
    "cluster with CECOCHAT_CLUSTER_SECRET_FILE"
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is known about a cluster."""

    servers: dict[Service, tuple[Instance, ...]]
    ready: dict[str, str]  # instance id -> empty, or the reason why it is not ready
    controls: list[dict[str, Any]]  # what each control server says about itself
    decisions: list[dict[str, Any]]  # those of the control server that leads, newest first
    holes: list[dict[str, Any]] | None  # what a history server says; None if none answers
    lacking: dict[int, list[int]] = field(default_factory=dict)
    """Partition -> the partitions whose messages it lacks, as its owner says."""
    missing: tuple[dict[str, Any], ...] = ()  # rows that the materialize servers have not found
    unproven: tuple[Unproven, ...] = ()

    @property
    def leader(self) -> dict[str, Any] | None:
        """What the leading control server says; None if no control server that answers leads."""
        return next((each for each in self.controls if each["leads"]), None)

    @property
    def sets(self) -> dict[str, dict[str, Any]]:
        """What the leader knows about each server set."""
        return self.leader["sets"] if self.leader else {}

    @property
    def late(self) -> dict[str, dict[str, Any]]:
        """What has waited too long in the log, by task, as the leader says."""
        return self.leader.get("late", {}) if self.leader else {}

    def led(self) -> dict[str, Any]:
        """Return what the leader says. Raises `Failed` if there is none."""
        if self.leader is None:
            live = len(self.servers["control"])
            raise Failed(
                f"no control server leads just now ({live} are live): start one with "
                "`cecochat serve control`, or try again in some seconds"
            )
        return self.leader


async def look(file: Path | None) -> Cluster:
    """Ask discovery, and every server over HTTP. Raises `UsageError`, `Failed`."""
    settings = target.settings(None, file)
    if not backends.is_shared("discovery", settings):
        raise UsageError(NOT_FOUND)
    async with build.discovery(settings) as discovery:
        return await look_through(discovery, asking(file, None, "read"))


async def look_through(discovery: Discovery | None, asking: Asking) -> Cluster:
    """Do the same through a discovery that is open; it is None if the settings name no Consul."""
    if discovery is None:
        raise UsageError(NOT_FOUND)
    async with asking() as client:
        servers = {service: discovery.live(service) for service in SERVICES}
        everybody = [each for instances in servers.values() for each in instances]
        if not everybody:
            count = len(discovery.unproven)
            raise Failed(NOBODY_PROVEN.format(count=count) if count else NOBODY)
        partitions = [_get(client, each, "partitions") for each in servers["messaging"]]
        lacking = _lacking(await asyncio.gather(*partitions))
        ready = await asyncio.gather(*(_not_ready(client, each) for each in everybody))
        asked = [await _get(client, each, "control") for each in servers["control"]]
        controls = [each for each in asked if each]
        decisions = [
            await _get(client, instance, "decisions")
            for instance, said in zip(servers["control"], asked, strict=True)
            if said and said["leads"]
        ]
        answers = [await _get(client, each, "holes") for each in servers["history"][:ASKED]]
        audits = [await _get(client, each, "audit") for each in servers["materialize"]]
    holes = next((each["holes"] for each in answers if each and "holes" in each), None)
    told = decisions[0]["decisions"] if decisions and decisions[0] else []
    missing = {each["text"]: each for audit in audits if audit for each in audit["missing"]}
    names = [each.instance_id for each in everybody]
    ready_of = dict(zip(names, ready, strict=True))
    rows = tuple(missing.values())
    return Cluster(servers, ready_of, controls, told, holes, lacking, rows, discovery.unproven)


def _lacking(answers: list[dict[str, Any] | None]) -> dict[int, list[int]]:
    return {
        int(partition): origins
        for answer in answers
        if answer  # a server that does not answer is reported elsewhere
        for partition, origins in answer.get("lacking", {}).items()
    }


async def _not_ready(client: httpx.AsyncClient, server: Instance) -> str:
    try:
        answer = await client.get(f"{server.health_url}/readyz")
        return "" if answer.is_success else str(answer.json().get("why", answer.status_code))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return "it does not answer"


async def _get(client: httpx.AsyncClient, server: Instance, path: str) -> Any:
    """Return the answer, or None if there is none."""
    try:
        answer = await client.get(f"{server.health_url}/{path}")
        return answer.json() if answer.is_success else None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None
