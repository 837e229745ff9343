"""Discovery by Consul: servers register with a health check, and each follows all services."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from typing_extensions import override

from cecochat.adapters.consul.connection import OutageLog, answer, client, refused
from cecochat.adapters.consul.following import ServiceWatch
from cecochat.adapters.consul.leading import Candidate
from cecochat.adapters.consul.services import (
    NODE_CHECK,
    check_id,
    is_registered,
    registration,
    service_id,
)
from cecochat.adapters.consul.settings import ConsulSettings
from cecochat.domain.errors import InvalidSettings, Unavailable
from cecochat.ports.discovery import SERVICES, Discovery, Instance, Service, Unproven

log = logging.getLogger(__name__)

REGISTER_AGAIN_S = 2.0
REGISTERING = "registering"


class ConsulDiscovery(Discovery):
    """The services are `{namespace}-messaging` and so on. All of them are followed, so that `live`
    answers from memory. While Consul is away, it returns the servers that were live before.
    """

    def __init__(self, settings: ConsulSettings, consul: Any) -> None:
        """Use `open` instead."""
        self._settings = settings
        self._consul = consul
        self._trouble = OutageLog()
        self._following = {
            service: ServiceWatch(settings, consul, service, self._trouble, self._wake)
            for service in SERVICES
        }
        self._registered: dict[str, Instance] = {}
        self._registering = asyncio.Lock()
        self._watchers: set[asyncio.Event] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: ConsulSettings) -> AsyncGenerator[ConsulDiscovery]:
        """Connect to Consul, and find the servers that are live. It does no harm if Consul does not
        answer yet. Raises `InvalidSettings`.
        """
        opened = cls(settings, client(settings))
        async with asyncio.TaskGroup() as tasks:
            try:
                await opened._start(tasks)
                yield opened
            finally:
                await opened.close()

    async def _start(self, tasks: asyncio.TaskGroup) -> None:
        loops = [following.run() for following in self._following.values()]
        self._tasks = [tasks.create_task(loop) for loop in [*loops, self._stay_registered()]]
        for following in self._following.values():
            await following.asked.wait()

    @override
    async def register(self, instance: Instance) -> None:
        """Like the port says. Raises `InvalidSettings` if Consul refuses the registration."""
        async with self._registering:
            self._registered[service_id(self._settings, instance)] = instance
            try:
                await self._put(instance)
            except Unavailable as error:
                if refused(error.__cause__):
                    del self._registered[service_id(self._settings, instance)]
                    raise InvalidSettings(f"{error}: check the token and the CA file") from error
                self._trouble.begins(REGISTERING, error)

    @override
    async def deregister(self, instance: Instance) -> None:
        """Like the port says. If Consul does not answer, its health check will notice."""
        async with self._registering:
            await self._forget(service_id(self._settings, instance))

    @override
    def live(self, service: Service) -> tuple[Instance, ...]:
        return () if self._closed else self._following[service].live

    @property
    @override
    def answers(self) -> bool:
        return not self._closed and not self._trouble

    @property
    @override
    def unproven(self) -> tuple[Unproven, ...]:
        return tuple(each for service in SERVICES for each in self._following[service].unproven)

    @override
    async def watch(self, service: Service) -> AsyncGenerator[tuple[Instance, ...]]:
        changed = asyncio.Event()
        self._watchers.add(changed)
        try:
            seen = None
            while not self._closed:
                changed.clear()
                if (now := self.live(service)) != seen:
                    seen = now
                    yield now
                else:
                    await changed.wait()
            raise Unavailable("discovery was closed")
        finally:
            self._watchers.discard(changed)

    @override
    def lead(self, role: str, candidate: str) -> AsyncGenerator[bool]:
        def checks() -> list[str]:
            own = [
                check_id(id_)
                for id_, instance in self._registered.items()
                if (instance.service, instance.instance_id) == (role, candidate)
            ]
            return [NODE_CHECK, *own]

        return Candidate(
            self._settings, self._consul, role, candidate, self._trouble, checks
        ).stand()

    @override
    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._wake()
        for task in self._tasks:
            task.cancel()
        async with self._registering:
            for id_ in tuple(self._registered):
                await self._forget(id_)
        await self._consul.close()

    async def _stay_registered(self) -> None:
        """Register again on an agent that has lost its data or was away at the start, or on which
        somebody else has changed our registration.
        """
        while True:
            await asyncio.sleep(REGISTER_AGAIN_S)
            async with self._registering:
                try:
                    await self._register_missing()
                except Unavailable as error:
                    self._trouble.begins(REGISTERING, error)
                else:
                    self._trouble.ends(REGISTERING)

    async def _register_missing(self) -> None:
        if self._registered:
            entries = await answer(self._settings, self._consul.agent.services())
            for id_, instance in self._registered.items():
                if not is_registered(entries.get(id_), registration(self._settings, instance)):
                    await self._put(instance)

    async def _put(self, instance: Instance) -> None:
        arguments = registration(self._settings, instance)
        await answer(self._settings, self._consul.agent.service.register(**arguments))

    async def _forget(self, id_: str) -> None:
        self._registered.pop(id_, None)
        try:
            await answer(self._settings, self._consul.agent.service.deregister(id_))
        except Unavailable as error:
            log.warning("%s is not deregistered, but its check will fail soon: %s", id_, error)

    def _wake(self) -> None:
        for watcher in self._watchers:
            watcher.set()
