"""What all partitions of one messaging server share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cecochat.domain.log.limits import OwnerLimits
from cecochat.ports.backplane import Log
from cecochat.ports.discovery import Instance
from cecochat.servers.messaging.metrics import MessagingMetrics
from cecochat.telemetry.tracing import OFF, Tracer


@dataclass(frozen=True, slots=True)
class Host:
    """A messaging server, as its partitions see it. `live` returns the live messaging servers."""

    server_id: str
    log: Log
    metrics: MessagingMetrics
    live: Callable[[], tuple[Instance, ...]] = tuple
    tracer: Tracer = OFF
    limits: OwnerLimits = field(default_factory=OwnerLimits)

    def address_of(self, server_id: str) -> str:
        """Return the address of a server; empty if it is not known."""
        return next((each.address for each in self.live() if each.instance_id == server_id), "")

    @property
    def has_others(self) -> bool:
        """Whether another messaging server could take over."""
        return any(each.instance_id != self.server_id for each in self.live())
