"""What the servers of a cluster share, told by the backends that `environment` names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cecochat.adapters import build
from cecochat.ports.configuration import ASSIGNMENT, CONFIGURATION
from cecochat.ports.discovery import Instance, Service
from cecochat.runtime.settings import load


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
