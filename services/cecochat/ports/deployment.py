"""What runs the servers of each set: how many there are, how they are, and how to have more."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

from cecochat.ports.discovery import Service

Status = Literal["pending", "running", "failed", "ended"]


class Limits(NamedTuple):
    """How many servers of a set a deployment can run: from `min` to `max`, both included."""

    min: int
    max: int


class Allocation(NamedTuple):
    """A slot in which a deployment runs one server, and starts it again if it ends."""

    id: str
    status: Status
    version: str
    where: str  # which node or process it is on


class ServerSet(NamedTuple):
    """A set as its deployment sees it. Which servers are live is up to discovery."""

    wanted: int
    limits: Limits
    allocations: tuple[Allocation, ...]
    rollout: str = ""  # what the deployment says about its last change, in its own words


class Deployment(ABC):
    """Runs server sets and scales them. Calls raise `Unavailable` if it does not answer."""

    @abstractmethod
    async def state(self, service: Service) -> ServerSet:
        """Return the set as it is now. Raises `CannotScale` if this deployment does not run that
        set.
        """

    @abstractmethod
    async def scale(self, service: Service, count: int, reason: str) -> None:
        """Ask for `count` servers. Returns when the change is accepted, not when it is done. A
        server that is no longer wanted drains before it stops.

        Raises `CannotScale` if this deployment cannot run that many.
        """
