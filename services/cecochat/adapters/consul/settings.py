"""The settings of discovery by Consul."""

from __future__ import annotations

from dataclasses import dataclass, field

from cecochat.runtime.tls import Tls


@dataclass(frozen=True, slots=True)
class ConsulSettings:
    """Where an agent is, how to log in, and how the agent checks that a server lives."""

    address: str  # host:port of the agent's HTTP API, preferably on this machine
    secret: bytes = field(repr=False)  # of the cluster, which signs what servers register
    namespace: str = "cecochat"  # before the name of each service
    token: str | None = field(default=None, repr=False)  # of an ACL
    tls: Tls | None = None  # None: plain HTTP
    interval_s: float = 1.0  # between checks; the least that Consul accepts
    timeout_s: float = 1.0  # for one check
    failures: int = 2  # so many failed checks in a row make a server dead: one may be mere load
    deregister_after_s: float = 600.0  # when a dead server is removed; Consul accepts 60 or more
    grace_s: float = 10.0  # after an outage of Consul, before servers that it lacks count as dead
