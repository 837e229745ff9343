"""What the configuration on Redis needs to be told."""

from __future__ import annotations

from dataclasses import dataclass, field

from cecochat.settings.tls import Tls


@dataclass(frozen=True, slots=True)
class RedisSettings:
    """Where Redis is, and who we are to it."""

    address: str  # host:port
    namespace: str = "cecochat"  # before the name of each key and channel
    username: str | None = None  # of an ACL; a password alone is that of the user `default`
    password: str | None = field(default=None, repr=False)
    tls: Tls | None = None  # None: without
