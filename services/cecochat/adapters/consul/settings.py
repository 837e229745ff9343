"""What discovery through Consul needs to be told."""

from __future__ import annotations

from dataclasses import dataclass, field

from cecochat.settings.tls import Tls


@dataclass(frozen=True, slots=True)
class ConsulSettings:
    """Where an agent is, who we are to it, and how it checks that a server lives."""

    address: str  # host:port of the agent's HTTP API, best the one on this machine
    secret: bytes = field(repr=False)  # of the cluster, which signs what servers register
    namespace: str = "cecochat"  # before the name of each service
    token: str | None = field(default=None, repr=False)  # of its ACL
    tls: Tls | None = None  # None: plain HTTP
    grace_s: float = (
        10.0  # after an outage of Consul, until a server it does not list counts as dead
    )
