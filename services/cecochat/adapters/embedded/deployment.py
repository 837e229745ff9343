"""Deployments that do not scale: servers that others start, and all servers in one process."""

from __future__ import annotations

import os

from typing_extensions import override

from cecochat import __version__
from cecochat.domain.errors import CannotScale
from cecochat.ports.deployment import Allocation, Deployment, Limits, ServerSet
from cecochat.ports.discovery import Service


class ByOthers(Deployment):
    """The deployment of servers that a person or a service manager starts one by one."""

    @override
    async def state(self, service: Service) -> ServerSet:
        raise CannotScale(
            f"nothing here can scale the {service} servers: set CECOCHAT_NOMAD if Nomad runs them, "
            "or run them with `cecochat up --processes`"
        )

    @override
    async def scale(self, service: Service, count: int, reason: str) -> None:
        await self.state(service)


class EmbeddedDeployment(Deployment):
    """The deployment that always has one server of each set."""

    @override
    async def state(self, service: Service) -> ServerSet:
        here = Allocation(service, "running", __version__, f"process {os.getpid()}")
        return ServerSet(1, Limits(1, 1), (here,))

    @override
    async def scale(self, service: Service, count: int, reason: str) -> None:
        if count != 1:
            raise CannotScale(
                f"there cannot be {count} {service} servers: the embedded mode runs one of each in "
                "one process; to have more, run `cecochat up --processes` or deploy with Nomad"
            )
