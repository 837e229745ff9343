"""Discovery through the shared Consul, in a namespace of the test's own."""

from __future__ import annotations

from contextlib import AsyncExitStack

from cecochat.adapters.consul.discovery import ConsulDiscovery
from cecochat.adapters.consul.settings import ConsulSettings
from cecochat.ports.discovery import Discovery
from tests.contract.openers import SECRET, Place


async def discovery(place: Place, stack: AsyncExitStack) -> Discovery:
    settings = ConsulSettings(place.backends.address("consul"), SECRET, place.namespace)
    return await stack.enter_async_context(ConsulDiscovery.open(settings))
