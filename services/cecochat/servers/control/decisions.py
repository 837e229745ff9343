"""Records what control has decided and why: in its log, in metrics, and the last ones over HTTP."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge

from cecochat.domain.cluster.balance import grouped, ranges
from cecochat.domain.cluster.scaling import Scaling
from cecochat.ports.configuration import Document
from cecochat.ports.discovery import Service
from cecochat.runtime.clock import now_ms
from cecochat.servers.control.planner import Decision

log = logging.getLogger(__name__)

KEPT = 100
MOVES_SHOWN = 20  # of a decision, grouped by source and target
PARTITION_STATES = ("settled", "moving", "lost")


class Decisions:
    """The last decisions, newest first, and the metrics of all. All labels have few values."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.last: deque[dict[str, Any]] = deque(maxlen=KEPT)
        self._moves = Counter(
            "cecochat_control_moves",
            "Partitions given to another server, by reason.",
            ["reason"],
            registry=registry,
        )
        self._failovers = Counter(
            "cecochat_control_failovers", "Servers whose partitions failed over.", registry=registry
        )
        self._restores = Counter(
            "cecochat_control_restores",
            "Documents that the store had lost and was given again.",
            ["document"],
            registry=registry,
        )
        self._overdue = Counter(
            "cecochat_control_handovers_overdue",
            "Partitions whose new owner did not say in time that it owns them.",
            registry=registry,
        )
        self._scalings = Counter(
            "cecochat_control_scalings",
            "Changes of the number of servers, by set and direction: grow, shrink.",
            ["set", "direction"],
            registry=registry,
        )
        self._servers = Gauge(
            "cecochat_control_servers",
            "Servers of a set: wanted, live.",
            ["set", "state"],
            registry=registry,
        )
        self._leading = Gauge(
            "cecochat_control_leads", "1 where this control server acts.", registry=registry
        )
        self._partitions = Gauge(
            "cecochat_control_partitions",
            "Partitions: settled with a live owner, moving to one, or lost (no live owner).",
            ["state"],
            registry=registry,
        )

    def moved(self, decision: Decision, version: int) -> None:
        """Record a decision, which is version `version` of the assignment now."""
        groups = grouped(decision.moves)
        for group in groups:
            self._moves.labels(group.reason).inc(len(group.partitions))
        self._failovers.inc(len({g.source for g in groups if g.reason == "failover"}))
        shown = [
            {
                "partitions": ranges(group.partitions),
                "from": group.source,
                "to": group.target,
                "reason": group.reason,
            }
            for group in groups[:MOVES_SHOWN]
        ]
        left_out = len(groups) - len(shown)
        self._record("moved", decision.why, version=version, moves=shown, left_out=left_out)

    def restored(self, document: Document, found: Document) -> None:
        """Record that the store had `found`, and was given the later `document` again."""
        self._restores.labels(document.name).inc()
        self._record(
            "restored",
            f"the store of the {document.name} had gone back to {found.rank}",
            document=document.name,
            version=document.version,
        )

    def gave_up(self, late: dict[int, str]) -> None:
        """Record partitions that were not taken over in time: partition -> new owner."""
        self._overdue.inc(len(late))
        owners = ", ".join(sorted(set(late.values())))
        self._record("overdue", f"{owners} did not take over in time", partitions=ranges(late))

    def count(self, partitions: int, moving: int, lost: int) -> None:
        """Set how many partitions are in which state now."""
        settled = partitions - moving - lost
        for state, count in zip(PARTITION_STATES, (settled, moving, lost), strict=True):
            self._partitions.labels(state).set(count)

    def scaled(self, service: Service, before: int, scaling: Scaling) -> None:
        """Record that another number of servers is wanted now."""
        self._scalings.labels(service, "grow" if scaling.to > before else "shrink").inc()
        self._record("scaled", scaling.reason, service=service, before=before, to=scaling.to)

    def leads(self, *, now: bool) -> None:
        """Record whether this control server leads now."""
        self._leading.set(now)
        if now:
            self._record("leads", "no other control server leads")

    def count_servers(self, service: Service, wanted: int | None, live: int) -> None:
        """Set how many servers of a set are wanted, if that is known, and how many are live."""
        if wanted is not None:
            self._servers.labels(service, "wanted").set(wanted)
        self._servers.labels(service, "live").set(live)

    def _record(self, kind: str, reason: str, **more: Any) -> None:
        log.info("%s: %s", kind, reason, extra={"kind": kind, "reason": reason, "details": more})
        at_ms = now_ms()
        self.last.appendleft({"at_ms": at_ms, "kind": kind, "reason": reason, **more})
