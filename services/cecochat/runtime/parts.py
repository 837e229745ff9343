"""What a server is given: the ports, on whichever adapters, and what authenticates callers."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry

from cecochat import __version__
from cecochat.auth.certificates import Certificate
from cecochat.auth.operators import Operators, Scope
from cecochat.auth.tokens import Verifier
from cecochat.ports.backplane import Backplane
from cecochat.ports.configuration import Configuration
from cecochat.ports.discovery import FOR_CLIENTS, Discovery, Instance, Service
from cecochat.ports.files import Files
from cecochat.ports.history import History
from cecochat.ports.moderation import Moderation
from cecochat.ports.search import Search
from cecochat.ports.signals import Signals
from cecochat.ports.silences import Silences
from cecochat.runtime.asking import Asking, of_server
from cecochat.runtime.guard import Guard
from cecochat.runtime.metrics import show_expiry, show_unproven
from cecochat.sealing.keyring import KeyRing
from cecochat.settings.settings import Settings
from cecochat.telemetry.tracing import Tracing


@dataclass(frozen=True, slots=True)
class Parts:
    """What a process opens for the servers in it."""

    settings: Settings
    backplane: Backplane
    history: History | None  # for the servers that read or write it
    search: Search | None  # None: there is none, or this server has no use for it
    signals: Signals | None  # for messaging servers
    files: Files | None  # what messages carry; None: no store, or this server has no use for it
    keys: KeyRing | None  # for the servers that take or show texts
    moderation: Moderation | None  # for messaging and history servers
    silences: Silences | None  # for hook servers
    configuration: Configuration
    discovery: Discovery
    verifier: Verifier
    operators: Operators
    certificate: Certificate | None = None  # for clients; None without TLS
    internal: Certificate | None = None  # for internal listeners and their callers
    tracing: Tracing = field(default_factory=Tracing)
    page_secret: bytes | None = None  # signs tokens for the chat page; None if there is no page

    def asking(self, server_id: str, *scopes: Scope) -> Asking:
        """Return what makes the clients with which a server asks others."""
        context = self.internal.client if self.internal else None
        return of_server(self.operators, server_id, *scopes, context=context)

    @property
    def guard(self) -> Guard:
        """A guard for an internal listener."""
        return Guard(self.operators, self.settings)


def new_registry(parts: Parts) -> CollectorRegistry:
    """Return a registry for one server, with the metrics that every server has."""
    registry = CollectorRegistry()
    show_unproven(registry, lambda: len(parts.discovery.unproven))
    show_expiry(registry, {"clients": parts.certificate, "internal": parts.internal})
    return registry


def new_instance_id(service: Service) -> str:
    """Return an id that is unique for each start, also if Nomad restarts the same allocation."""
    start = uuid.uuid4().hex[:12]
    allocation = os.environ.get("NOMAD_ALLOC_ID")
    return f"{service}-{allocation[:8]}-{start[:6]}" if allocation else f"{service}-{start}"


def instance(
    parts: Parts, service: Service, id_: str, port: int, health_port: int, web_port: int = 0
) -> Instance:
    """Describe a server of this process for discovery. One without clients has only one port, and
    connect has no other for browsers.
    """
    settings = parts.settings
    health = f"{settings.internal_address}:{health_port}"
    url = f"{'https' if parts.internal else 'http'}://{health}"
    if service not in FOR_CLIENTS:
        return Instance(service, id_, health, url, __version__)
    own = f"{settings.public_host}:{port}"
    web_address = f"{settings.public_host}:{web_port}" if web_port else ""
    url_of = settings.websocket_url if service == "messaging" else settings.http_url
    web = url_of(settings.edge or web_address) if web_port else ""
    if not settings.edge:
        return Instance(service, id_, own, url, __version__, web=web)
    return Instance(service, id_, settings.edge, url, __version__, own, web, web_address)
