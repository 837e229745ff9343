"""Which servers are alive, and where."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from typing import Final, Literal, NamedTuple, get_args

Service = Literal["messaging", "materialize", "history", "connect", "control", "hooks"]
SERVICES: Final[tuple[Service, ...]] = get_args(Service)
OPTIONAL: Final[tuple[Service, ...]] = ("hooks",)
"""Those that a system may do without: nobody needs them who has no endpoints."""
FOR_CLIENTS: Final[tuple[Service, ...]] = ("connect", "messaging", "history")


class Instance(NamedTuple):
    """One running server process of a service."""

    service: Service
    instance_id: str  # unique for each start
    address: str  # host:port at which clients reach it
    health_url: str  # its internal listener, e.g. http://127.0.0.1:7101
    version: str
    behind: str = ""  # host:port at which the edge reaches it; empty: there is no edge
    web: str = ""  # URL for browsers: WebSockets of messaging, HTTP of history; empty: none
    web_behind: str = ""  # host:port at which the edge reaches that


class Unproven(NamedTuple):
    """A registration that no server of this cluster has signed. No client is sent there."""

    service: Service
    registered_id: str  # in the registry
    address: str


class Discovery(ABC):
    """A registry of live instances."""

    @abstractmethod
    async def register(self, instance: Instance) -> None:
        """Register an instance, or replace the one with the same `instance_id`. If the registry
        does not answer at the moment, this is done when it does.
        """

    @abstractmethod
    async def deregister(self, instance: Instance) -> None:
        """Remove an instance, if it is registered. A registry that does not answer finds out later
        that the instance is gone.
        """

    @abstractmethod
    def live(self, service: Service) -> tuple[Instance, ...]:
        """Return the healthy instances that servers of this cluster have registered, sorted by
        `instance_id`. This answers from memory, never from the network. If the registry goes away,
        the instances stay as they were, also for a grace period after it is back.
        """

    @property
    @abstractmethod
    def answers(self) -> bool:
        """Whether the registry answers at the moment. While it does not, none is found dead."""

    @property
    @abstractmethod
    def unproven(self) -> tuple[Unproven, ...]:
        """The current registrations for these services that are not trusted."""

    @abstractmethod
    def watch(self, service: Service) -> AsyncGenerator[tuple[Instance, ...]]:
        """Yield the live instances at once, then again after each change. Several changes may be
        joined.
        """

    @abstractmethod
    def lead(self, role: str, candidate: str) -> AsyncGenerator[bool]:
        """Stand as a candidate for a role: yield whether this candidate leads now, then each change
        of that. Closing the generator gives the role up. If `candidate` is the id of an instance
        that is registered for the service `role`, it leads only as long as that instance lives.

        Leading is advisory: two candidates may lead for a moment, for example after a pause, so
        what a leader writes has to be guarded by compare-and-set. If the registry goes away, the
        leader stops leading within 10 s, and no candidate starts.
        """

    @abstractmethod
    async def close(self) -> None:
        """Deregister what this object has registered, and end watches. It may be called again."""
