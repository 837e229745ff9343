"""Deployment of one process that runs one server of each set."""

from __future__ import annotations

from typing_extensions import override

from cecochat.domain.errors import CannotScale
from cecochat.ports.deployment import Deployment
from cecochat.ports.discovery import Service


class EmbeddedDeployment(Deployment):
    """One of each, always."""

    @override
    async def count(self, service: Service) -> int:
        return 1

    @override
    async def scale(self, service: Service, count: int, reason: str) -> None:
        if count != 1:
            raise CannotScale(
                f"{count} {service} servers: the embedded mode runs one of each in one process; "
                "run `cecochat up --processes`, or deploy with Nomad, to have more"
            )
