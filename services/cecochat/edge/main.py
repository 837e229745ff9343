"""Runs the edge of this machine, and reloads it when servers or certificates change."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

from cecochat.adapters import build
from cecochat.domain.errors import InvalidSettings, Unavailable
from cecochat.edge.configuration import of_instances, of_one_machine, written
from cecochat.edge.haproxy import HAProxy, changes
from cecochat.ports.discovery import FOR_CLIENTS, Discovery, Service
from cecochat.settings import backends
from cecochat.settings.settings import Settings, split_address

log = logging.getLogger(__name__)

SETTLED_S = 0.5
"""Servers that come and go within this time cost only one reload."""


class Edge:
    """HAProxy with an up-to-date configuration.

    `discovery` is None on a single machine, whose servers the settings name.
    """

    def __init__(self, settings: Settings, discovery: Discovery | None, folder: Path) -> None:
        self._settings = settings
        self._discovery = discovery
        self._folder = folder
        self._stale = asyncio.Event()
        self._taken = ""  # the configuration that HAProxy uses

    def configuration(self) -> str:
        """Return the configuration for the servers that are live now. Raises `InvalidSettings`."""
        discovery = self._discovery
        if discovery is None:
            return written(self._settings, of_one_machine(self._settings))
        live = [each for service in FOR_CLIENTS for each in discovery.live(service)]
        return written(self._settings, of_instances(self._settings, live))

    async def run(self, started: asyncio.Event) -> None:
        """Run until cancelled.

        Raises `InvalidSettings` if HAProxy does not start, and `Unavailable` if it ends.
        """
        changed = changes(self._certificate_files())  # before HAProxy reads them
        self._taken = self.configuration()
        haproxy = await HAProxy.start(self._taken, self._folder)
        try:
            _, port = split_address(self._settings.edge)
            await haproxy.listening(self._settings.edge_host, port)
            started.set()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_certificate(changed))
                for service in FOR_CLIENTS if self._discovery else ():
                    group.create_task(self._follow(service))
                group.create_task(self._reload(haproxy))
                code = await haproxy.ended()
                raise Unavailable(f"HAProxy ended with exit code {code}: its log above says why")
        finally:
            await haproxy.stop()

    async def _reload(self, haproxy: HAProxy) -> None:
        while True:
            await self._stale.wait()
            await asyncio.sleep(SETTLED_S)
            self._stale.clear()
            try:
                configuration = self.configuration()
                await haproxy.reload(configuration)
                self._taken = configuration
                log.info("HAProxy uses a new configuration; open streams go on")
            except InvalidSettings as error:
                log.error("the edge keeps its old configuration: %s", error)

    def _certificate_files(self) -> list[Path]:
        file, ca_file = self._settings.edge_cert_file, self._settings.edge_ca_file
        files = [file, file.with_name(f"{file.name}.key")] if file else []
        return [*files, ca_file] if ca_file else files

    async def _follow_certificate(self, changed: AsyncGenerator[None]) -> None:
        async with aclosing(changed):
            async for _ in changed:
                self._stale.set()

    async def _follow(self, service: Service) -> None:
        assert self._discovery
        async with aclosing(self._discovery.watch(service)) as sets:
            async for _ in sets:
                if self.configuration() != self._taken:
                    self._stale.set()


@asynccontextmanager
async def edge(settings: Settings) -> AsyncIterator[str]:
    """Run the edge of this machine during the block. Yields the URL for clients."""
    async with AsyncExitStack() as stack:
        discovery = None
        if backends.is_shared("discovery", settings):
            discovery = await stack.enter_async_context(build.discovery(settings))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cecochat-edge-")))
        group = await stack.enter_async_context(asyncio.TaskGroup())
        started = asyncio.Event()
        task = group.create_task(Edge(settings, discovery, folder).run(started))
        await started.wait()
        yield settings.edge_url
        task.cancel()
