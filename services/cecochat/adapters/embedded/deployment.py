"""Deployment of one process that runs one server of each set."""

from __future__ import annotations

import os

from typing_extensions import override

from cecochat import __version__
from cecochat.domain.errors import CannotScale
from cecochat.ports.deployment import Allocation, Deployment, Limits, ServerSet
from cecochat.ports.discovery import Service


class ByOthers(Deployment):
    """Of servers that a person, or a service manager, starts one by one."""

    @override
    async def state(self, service: Service) -> ServerSet:
        raise CannotScale(
            f"nobody here runs the {service} servers: CECOCHAT_NOMAD names what does, and "
            "`cecochat up --processes` does it itself"
        )

    @override
    async def scale(self, service: Service, count: int, reason: str) -> None:
        await self.state(service)


class EmbeddedDeployment(Deployment):
    """One of each, always."""

    @override
    async def state(self, service: Service) -> ServerSet:
        here = Allocation(service, "running", __version__, f"process {os.getpid()}")
        return ServerSet(1, Limits(1, 1), (here,))

    @override
    async def scale(self, service: Service, count: int, reason: str) -> None:
        if count != 1:
            raise CannotScale(
                f"{count} {service} servers: the embedded mode runs one of each in one process; "
                "run `cecochat up --processes`, or deploy with Nomad, to have more"
            )
