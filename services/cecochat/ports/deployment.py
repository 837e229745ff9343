"""How many servers of a set run, how they fare, and changing their number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

from cecochat.ports.discovery import Service

Status = Literal["pending", "running", "failed", "ended"]


class Limits(NamedTuple):
    """How few and how many servers a deployment can run of a set; both ends are included."""

    min: int
    max: int


class Allocation(NamedTuple):
    """One place of a server, which may be started again in it."""

    id: str
    status: Status
    version: str
    where: str  # the node, or the process


class ServerSet(NamedTuple):
    """A set as its deployment sees it: who is live is what discovery tells."""

    wanted: int
    limits: Limits
    allocations: tuple[Allocation, ...]
    rollout: str = ""  # what the deployment says of its last change, for people


class Deployment(ABC):
    """Runs server sets, and scales them. Calls raise `Unavailable` where it does not answer."""

    @abstractmethod
    async def state(self, service: Service) -> ServerSet:
        """The set as it is now. Raises `CannotScale` where it does not run that set."""

    @abstractmethod
    async def scale(self, service: Service, count: int, reason: str) -> None:
        """Want `count` servers; returns when the change is accepted, not when it is done. A server
        that is not wanted any more drains first.

        Raises `CannotScale` where this deployment cannot run that many.
        """
