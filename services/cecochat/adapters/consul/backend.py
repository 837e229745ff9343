"""The Consul backend, which serves discovery."""

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
    """The settings for Consul in the environment."""

    consul: str = setting("", "host:port of an agent; empty: discovery within this process")
    consul_tls: bool = setting(False, "connect to Consul over TLS")
    consul_token_file: Path | None = setting(None, "file with the ACL token")  # noqa: RUF009


def discovery(settings: Settings) -> AbstractAsyncContextManager[Discovery]:
    """Open the registry in Consul."""
    from cecochat.adapters.consul.discovery import ConsulDiscovery
    from cecochat.adapters.consul.settings import ConsulSettings
    from cecochat.auth.operators import cluster_secret

    variables = settings.of(ConsulVariables)
    return ConsulDiscovery.open(
        ConsulSettings(
            variables.consul,
            cluster_secret(settings),
            namespace=settings.namespace,
            token=secret(variables.consul_token_file),
            tls=settings.backends_tls(variables.consul_tls),
        )
    )


def examine(settings: Settings) -> Sequence[Finding]:
    """Check whether Consul, if it is used, lists servers that are not of this cluster."""
    if not settings.of(ConsulVariables).consul:
        return [Finding("registrations", "ok", "there are none, since CECOCHAT_CONSUL is not set")]
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
