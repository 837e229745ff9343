"""Collects what is known about a whole system: its live servers, and what control says."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import httpx

from cecochat.ports.discovery import SERVICES, Discovery, Instance, Service, Unproven
from cecochat.runtime.asking import Asking

HOLES_FROM = 2  # how many history servers are asked about holes, in case one does not answer
SILENT = "it does not answer"

Answer = dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is known about a system. `servers` has the kinds of servers that it should have."""

    servers: dict[Service, tuple[Instance, ...]]
    not_ready: dict[str, str]  # instance id of each server -> why it is not ready; empty if it is
    controls: list[dict[str, Any]]  # what each control server says about itself
    decisions: list[dict[str, Any]]  # those of the control server that leads, newest first
    holes: list[dict[str, Any]] | None  # what a history server says; None if none answers
    lacking: dict[int, list[int]] = field(default_factory=dict)
    """Partition -> the partitions whose messages it lacks, as its owner says."""
    append_wait_s: dict[str, float] = field(default_factory=dict)
    """Messaging server -> how long its oldest append to the log that is under way has taken."""
    missing: tuple[dict[str, Any], ...] = ()  # rows that the materialize servers have not found
    unproven: tuple[Unproven, ...] = ()

    @property
    def leader(self) -> Answer:
        """What the leading control server says; None if no control server that answers leads."""
        return next((each for each in self.controls if each["leads"]), None)

    @property
    def standby(self) -> int:
        """How many control servers answer and do not lead."""
        return sum(not each["leads"] for each in self.controls)

    @property
    def sets(self) -> dict[str, dict[str, Any]]:
        """What the leader knows about each server set."""
        return self.leader["sets"] if self.leader else {}

    @property
    def late(self) -> dict[str, dict[str, Any]]:
        """What has waited too long in the log, by task, as the leader says."""
        return self.leader.get("late", {}) if self.leader else {}


async def look(
    discovery: Discovery, asking: Asking, services: Collection[Service] = SERVICES
) -> Cluster:
    """Ask discovery, and every server over HTTP. The scope is `read`."""
    servers = {service: discovery.live(service) for service in services}
    everybody = [each for instances in servers.values() for each in instances]
    async with asking() as client:
        ask = _Questions(client)
        reasons, partitions, (controls, decisions), holes, audits = await asyncio.gather(
            asyncio.gather(*map(ask.why_not_ready, everybody)),
            ask.all_of(servers.get("messaging", ()), "partitions"),
            ask.control(servers.get("control", ())),
            ask.all_of(servers.get("history", ())[:HOLES_FROM], "holes"),
            ask.all_of(servers.get("materialize", ()), "audit"),
        )
    rows = {each["text"]: each for audit in audits if audit for each in audit["missing"]}
    return Cluster(
        servers=servers,
        not_ready={each.instance_id: why for each, why in zip(everybody, reasons, strict=True)},
        controls=controls,
        decisions=decisions,
        holes=next((each["holes"] for each in holes if each and "holes" in each), None),
        lacking=_lacking(partitions),
        append_wait_s={
            each["server_id"]: each.get("append_wait_s", 0.0) for each in partitions if each
        },
        missing=tuple(rows.values()),
        unproven=discovery.unproven,
    )


def _lacking(answers: list[Answer]) -> dict[int, list[int]]:
    return {
        int(partition): origins
        for answer in answers
        if answer  # a server that does not answer is reported elsewhere
        for partition, origins in answer.get("lacking", {}).items()
    }


class _Questions:
    """Asks servers for what they show to people."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def why_not_ready(self, server: Instance) -> str:
        """Return why a server is not ready; empty if it is."""
        try:
            answer = await self._client.get(f"{server.health_url}/readyz")
            return "" if answer.is_success else str(answer.json().get("why", answer.status_code))
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            return SILENT

    async def all_of(self, servers: Collection[Instance], path: str) -> list[Answer]:
        """Return the answers of some servers, in their order: None if one does not answer."""
        return list(await asyncio.gather(*(self._get(each, path) for each in servers)))

    async def control(
        self, servers: Collection[Instance]
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return what the control servers say, and the decisions of the one that leads."""
        said = await self.all_of(servers, "control")
        leads = [each for each, its in zip(servers, said, strict=True) if its and its["leads"]]
        decisions = await self.all_of(leads[:1], "decisions")
        last = decisions[0]["decisions"] if decisions and decisions[0] else []
        return [each for each in said if each], last

    async def _get(self, server: Instance, path: str) -> Answer:
        try:
            answer = await self._client.get(f"{server.health_url}/{path}")
            return answer.json() if answer.is_success else None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            return None
