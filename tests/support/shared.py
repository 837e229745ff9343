"""What the servers of a cluster share, told by the backends that `environment` names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from cecochat.adapters import build
from cecochat.ports.configuration import ASSIGNMENT, CONFIGURATION
from cecochat.ports.discovery import Instance, Service
from cecochat.settings.settings import load
from tests.support import operators


async def owners(environment: Mapping[str, str]) -> dict[str, str]:
    """The assignment: partition -> instance id."""
    async with build.configuration(load(environment)) as configuration:
        return dict((await configuration.get(ASSIGNMENT)).value)


async def configure(environment: Mapping[str, str], keys: Mapping[str, Any]) -> None:
    """Set keys of the central configuration."""
    async with build.configuration(load(environment)) as configuration:
        await configuration.change(CONFIGURATION, lambda old: {**old, **keys}, by="test")


async def live(environment: Mapping[str, str], service: Service) -> tuple[Instance, ...]:
    """Those that discovery knows now."""
    async with build.discovery(load(environment)) as discovery:
        return discovery.live(service)


async def settled(environment: Mapping[str, str], count: int) -> bool:
    """Whether so many messaging servers are live, and everything is assigned to all of them."""
    ids = {each.instance_id for each in await live(environment, "messaging")}
    return len(ids) == count and set((await owners(environment)).values()) == ids


async def leader(environment: Mapping[str, str]) -> Instance | None:
    """The control server that leads."""
    async with operators.client() as client:
        for control in await live(environment, "control"):
            try:
                if (await client.get(f"{control.health_url}/control")).json()["leads"]:
                    return control
            except httpx.HTTPError:
                continue  # it is dead, and Consul has not seen it yet
    return None


async def wanted(environment: Mapping[str, str], service: Service) -> list[int]:
    """How many servers of it the leader has wanted, in order."""
    control = await leader(environment)
    assert control, "no control server leads"
    async with operators.client() as client:
        found = (await client.get(f"{control.health_url}/decisions")).json()["decisions"]
    scaled = [each for each in reversed(found) if each["kind"] == "scaled"]
    return [each["to"] for each in scaled if each["service"] == service]
