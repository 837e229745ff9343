"""Gathers all facts about a system for those who look at its state."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

from cecochat.domain.errors import Unavailable
from cecochat.internal.client import InternalClient
from cecochat.overview import cluster, ownership
from cecochat.overview.alerts import alerts
from cecochat.overview.cluster import SILENT, Cluster
from cecochat.overview.departed import Departed
from cecochat.overview.ownership import View
from cecochat.overview.rates import Rates
from cecochat.overview.wrong import what_is_wrong
from cecochat.ports.configuration import Configuration
from cecochat.ports.discovery import Discovery, Instance, Service
from cecochat.runtime.asking import Asking
from cecochat.runtime.clock import now_ms

FRESH_S = 1.0
"""However many people look, servers are left alone for this long after they were asked."""
LOOK_EVERY_S = 1.0


class System(NamedTuple):
    """A system, and who asks it. `asking` makes clients with the scopes `read` and `metrics`.

    `services` are the kinds of servers that it should have. `prometheus_url` is empty if it has no
    Prometheus.
    """

    namespace: str
    services: Collection[Service]
    configuration: Configuration
    discovery: Discovery
    asking: Asking
    prometheus_url: str

    def live(self) -> Iterable[Instance]:
        """Return all live servers."""
        return [each for service in self.services for each in self.discovery.live(service)]


class Facts:
    """The facts about a system, gathered at most a second before somebody asks.

    Who asks while they are being gathered gets those, too.
    """

    def __init__(self, system: System) -> None:
        self._system = system
        self._departed = Departed()
        self._rates = Rates()
        self._turn = asyncio.Lock()
        self._gathered: tuple[float, dict[str, Any]] | None = None
        self._view: tuple[int, View | None] = (0, None)  # when it was read, ms since 1970
        self._unread = ""  # why it cannot be read now
        self._answered_ms: dict[str, int] = {}  # when each server answered last

    async def run(self) -> None:
        """Notice which servers leave, until cancelled."""
        while True:
            self._departed.see(self._system.live(), now_ms())
            await asyncio.sleep(LOOK_EVERY_S)

    async def shown(self, scopes: Collection[str]) -> dict[str, Any]:
        """Return what a token with these scopes may see, as an object for JSON."""
        asked_s = time.monotonic()
        async with self._turn:
            if self._gathered is None or asked_s - self._gathered[0] > FRESH_S:
                facts = await self._gather()
                self._gathered = time.monotonic(), facts  # which may have taken seconds
        facts = self._gathered[1]
        return facts if "metrics" in scopes else {**facts, "rates": None}

    async def _gather(self) -> dict[str, Any]:
        system = self._system
        seen, _, loads, alarms = await asyncio.gather(
            cluster.look(system.discovery, system.asking, system.services),
            self._see_partitions(),
            self._loads(),
            alerts(system.prometheus_url, system.namespace),
        )
        at_ms = now_ms()
        self._rates.see(time.monotonic(), loads)
        self._departed.see(system.live(), at_ms)
        self._note_answers(seen.not_ready, at_ms)
        facts = as_json(seen, self._view[1], self._unread)
        for server in (each for servers in facts["servers"].values() for each in servers):
            server["answered_ms"] = self._answered_ms.get(server["instance_id"])
        return {
            **facts,
            "at_ms": at_ms,
            "namespace": system.namespace,
            "gone": [
                each for each in self._departed.shown() if each["instance_id"] not in seen.not_ready
            ],  # it may have left since the others were asked
            "decisions": seen.decisions,
            "ownership": self._ownership(),
            "rates": self._rates.shown([each.instance_id for each in system.live()]),
            "alerts": alarms,
        }

    async def _see_partitions(self) -> None:
        """Read the assignment; if its store does not answer, keep what was read before."""
        system = self._system
        try:
            found = await ownership.view(system.configuration, system.discovery, system.asking)
        except Unavailable as error:
            self._unread = str(error)
        else:
            self._view, self._unread = (now_ms(), found), ""

    async def _loads(self) -> dict[str, Any]:
        live = [each for each in self._system.live() if each.service != "control"]
        async with self._system.asking() as http:
            loads = await asyncio.gather(*map(InternalClient(http).load, live))
        return {each.instance_id: load for each, load in zip(live, loads, strict=True)}

    def _note_answers(self, not_ready: dict[str, str], at_ms: int) -> None:
        before = self._answered_ms
        answered = {
            id_: at_ms if why != SILENT else before.get(id_) for id_, why in not_ready.items()
        }
        self._answered_ms = {id_: at for id_, at in answered.items() if at is not None}

    def _ownership(self) -> dict[str, Any] | None:
        read_ms, view = self._view
        if view is None:
            return None
        rows = [row._asdict() for row in view.rows()]
        about = {"version": view.version, "changed_by": view.changed_by, "read_ms": read_ms}
        return {**about, "stale": bool(self._unread), "rows": rows}


def as_json(seen: Cluster, view: View | None, unread: str = "") -> dict[str, Any]:
    """Return what `cecochat status` shows, as an object for JSON.

    `unread` says why the assignment cannot be read now. `view` is what was read before, if it was.
    """
    servers = {
        service: [
            {**each._asdict(), "not_ready": seen.not_ready[each.instance_id]} for each in live
        ]
        for service, live in seen.servers.items()
    }
    return {
        "servers": servers,
        "control": seen.leader,
        "standby": seen.standby,
        "partitions": dict(view.states()) if view else {},
        "missing": list(seen.missing),
        "unread": unread,
        "wrong": what_is_wrong(seen, view, unread),
    }
