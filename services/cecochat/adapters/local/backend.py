"""The processes of one machine, which `cecochat up --processes` runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import Final

from cecochat.ports.deployment import Deployment
from cecochat.settings.backends import Backend
from cecochat.settings.settings import Settings


@asynccontextmanager
async def deployment(settings: Settings) -> AsyncGenerator[Deployment]:
    """What takes orders for them."""
    from cecochat.adapters.local.deployment import LocalDeployment

    async with aclosing(LocalDeployment(settings.stack)) as local:
        yield local


BACKEND: Final = Backend(
    name="local",
    ports={"deployment": deployment},
    chosen_by="stack",
    gives_way_to="nomad",
    shared=True,
)
