"""Consul, for discovery."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cecochat.ports.discovery import Discovery
from cecochat.settings.backends import Backend, Finding
from cecochat.settings.settings import Settings
from cecochat.settings.tls import secret
from cecochat.settings.variables import setting


@dataclass(frozen=True, slots=True)
class ConsulVariables:
    """What the environment says of Consul."""

    consul: str = setting("", "host:port of an agent; empty: discovery within this process")
    consul_tls: bool = setting(False, "connect to Consul over TLS")
    consul_token_file: Path | None = setting(None, "file with the ACL token")  # noqa: RUF009


def discovery(settings: Settings) -> AbstractAsyncContextManager[Discovery]:
    """The registry in Consul."""
    from cecochat.adapters.consul.discovery import ConsulDiscovery
    from cecochat.adapters.consul.settings import ConsulSettings
    from cecochat.auth.operators import cluster_secret

    said = settings.of(ConsulVariables)
    return ConsulDiscovery.open(
        ConsulSettings(
            said.consul,
            cluster_secret(settings),
            namespace=settings.namespace,
            token=secret(said.consul_token_file),
            tls=settings.backends_tls(said.consul_tls),
        )
    )


def examine(settings: Settings) -> Sequence[Finding]:
    """Whether Consul, where there is one, tells of servers that are not of this cluster."""
    if not settings.of(ConsulVariables).consul:
        return [Finding("registrations", "ok", "none: CECOCHAT_CONSUL names no cluster")]
    from cecochat.adapters.consul.checks import registrations

    return [registrations(lambda: discovery(settings))]


BACKEND: Final = Backend(
    name="consul",
    ports={"discovery": discovery},
    chosen_by="consul",
    variables=ConsulVariables,
    shared=True,
    keeps_in="Consul",
    examine=examine,
)
