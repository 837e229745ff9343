"""The settings of the configuration on Redis."""

from __future__ import annotations

from dataclasses import dataclass, field

from cecochat.settings.tls import Tls


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Where Redis is, and how to log in."""

    address: str  # host:port
    namespace: str = "cecochat"  # before the name of each key and channel
    username: str | None = None  # of an ACL; without it, the password is for the user `default`
    password: str | None = field(default=None, repr=False)
    tls: Tls | None = None  # None: plain TCP
