"""What all partitions of one messaging server share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cecochat.documents.moderation import Moderation
from cecochat.domain.log.limits import OwnerLimits, SendLimits
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
    send_limits: SendLimits = field(default_factory=SendLimits)
    moderation: Moderation = field(default_factory=Moderation)

    def addresses_of(self, server_id: str) -> tuple[str, str]:
        """Return where clients reach a server over gRPC and over WebSocket; empty if that is not
        known.
        """
        server = self.instance(server_id)
        return (server.address, server.web) if server else ("", "")

    def instance(self, server_id: str) -> Instance | None:
        """Return a live messaging server, if it is one."""
        return next((each for each in self.live() if each.instance_id == server_id), None)

    @property
    def has_others(self) -> bool:
        """Whether another messaging server could take over."""
        return any(each.instance_id != self.server_id for each in self.live())
