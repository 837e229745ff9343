"""Nomad, which runs the servers of a cluster."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from cecochat.ports.deployment import Deployment
from cecochat.settings.backends import Backend
from cecochat.settings.settings import Settings
from cecochat.settings.tls import secret


@asynccontextmanager
async def deployment(settings: Settings) -> AsyncGenerator[Deployment]:
    """Open the deployment on a Nomad agent."""
    from cecochat.adapters.nomad.deployment import NomadDeployment

    yield NomadDeployment(
        settings.nomad,
        tls=settings.backends_tls(settings.nomad_tls),
        token=secret(settings.nomad_token_file),
    )


BACKEND: Final = Backend(
    name="nomad", ports={"deployment": deployment}, chosen_by="nomad", shared=True
)
