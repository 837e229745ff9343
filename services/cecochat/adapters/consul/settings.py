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
    interval_s: float = 1.0  # between checks; Consul takes no less
    timeout_s: float = 1.0  # of one check
    failures: int = 2  # checks that fail in a row make a server dead: one may be a moment's load
    deregister_after_s: float = 600.0  # dead for this long, forgotten; Consul takes no less than 60
    grace_s: float = (
        10.0  # after an outage of Consul, until a server it does not list counts as dead
    )
