"""Discovery within one process: its servers share this object."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from typing_extensions import override

from cecochat.domain.errors import Unavailable
from cecochat.ports.discovery import Discovery, Instance, Service, Unproven


class EmbeddedDiscovery(Discovery):
    """A registry in memory. An instance is live from when it is registered until it is
    deregistered.
    """

    def __init__(self) -> None:
        self._instances: dict[tuple[Service, str], Instance] = {}
        self._watchers: set[asyncio.Event] = set()
        self._candidates: dict[str, list[str]] = {}  # by role; the first one leads
        self._closed = False

    @override
    async def register(self, instance: Instance) -> None:
        self._instances[instance.service, instance.instance_id] = instance
        self._wake()

    @override
    async def deregister(self, instance: Instance) -> None:
        self._instances.pop((instance.service, instance.instance_id), None)
        self._wake()

    @override
    def live(self, service: Service) -> tuple[Instance, ...]:
        return tuple(self._instances[key] for key in sorted(self._instances) if key[0] == service)

    @property
    @override
    def answers(self) -> bool:
        return not self._closed

    @property
    @override
    def unproven(self) -> tuple[Unproven, ...]:
        return ()  # nobody else writes here

    @override
    async def watch(self, service: Service) -> AsyncGenerator[tuple[Instance, ...]]:
        changed = asyncio.Event()
        self._watchers.add(changed)
        try:
            seen = None
            while not self._closed:
                if (now := self.live(service)) != seen:
                    seen = now
                    yield now
                changed.clear()
                if self.live(service) == seen and not self._closed:
                    await changed.wait()
            raise Unavailable("discovery was closed")
        finally:
            self._watchers.discard(changed)

    @override
    async def lead(self, role: str, candidate: str) -> AsyncGenerator[bool]:
        changed = asyncio.Event()
        self._watchers.add(changed)
        candidates = self._candidates.setdefault(role, [])
        candidates.append(candidate)
        try:
            leads = None
            while True:
                if (now := candidates[0] == candidate) != leads:
                    leads = now
                    yield now
                else:
                    changed.clear()
                    await changed.wait()
        finally:
            self._watchers.discard(changed)
            candidates.remove(candidate)
            self._wake()

    @override
    async def close(self) -> None:
        self._closed = True
        self._instances.clear()
        self._wake()

    def _wake(self) -> None:
        for watcher in self._watchers:
            watcher.set()
