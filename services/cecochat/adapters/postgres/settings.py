"""The settings of PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass, field

from cecochat.settings.tls import Tls


@dataclass(frozen=True, slots=True)
class PostgresSettings:
    """Where PostgreSQL is, and how to log in."""

    addresses: tuple[str, ...]  # host:port of each server, of which one takes writes
    namespace: str = "cecochat"  # the schema that has the tables
    database: str = "cecochat"
    username: str = "cecochat"
    password: str | None = field(default=None, repr=False)
    tls: Tls | None = None  # None: plain TCP
