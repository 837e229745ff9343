"""Which servers are alive, and where."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from typing import Final, Literal, NamedTuple, get_args

Service = Literal["messaging", "materialize", "history", "connect", "control"]
SERVICES: Final[tuple[Service, ...]] = get_args(Service)
FOR_CLIENTS: Final[tuple[Service, ...]] = ("connect", "messaging", "history")


class Instance(NamedTuple):
    """One running server process of a service."""

    service: Service
    instance_id: str  # unique for each start
    address: str  # host:port that clients reach it at
    health_url: str  # its HTTP health, e.g. http://127.0.0.1:7101
    version: str
    behind: str = ""  # host:port that the edge reaches it at; empty: there is no edge


class Unproven(NamedTuple):
    """A registration that no server of this cluster has signed: nobody is sent there."""

    service: Service
    registered_id: str  # in the registry
    address: str


class Discovery(ABC):
    """A registry of live instances."""

    @abstractmethod
    async def register(self, instance: Instance) -> None:
        """Make it known; again with the same instance_id: replace it. Where the registry does not
        answer just now, it is made known when it does.
        """

    @abstractmethod
    async def deregister(self, instance: Instance) -> None:
        """Forget it. Unknown is fine, and so is a registry that does not answer: it finds out."""

    @abstractmethod
    def live(self, service: Service) -> tuple[Instance, ...]:
        """The last known healthy instances that servers of this cluster have registered, by
        instance_id; answers from memory, never from the network. While the registry is away they
        stay, and for a grace after it.
        """

    @property
    @abstractmethod
    def answers(self) -> bool:
        """Whether the registry answers just now. While it does not, nobody is found dead."""

    @property
    @abstractmethod
    def unproven(self) -> tuple[Unproven, ...]:
        """What is registered just now for these services and not believed."""

    @abstractmethod
    def watch(self, service: Service) -> AsyncGenerator[tuple[Instance, ...]]:
        """The set now, then the set after each change; changes in a row may be joined."""

    @abstractmethod
    def lead(self, role: str, candidate: str) -> AsyncGenerator[bool]:
        """Stand as a candidate until the generator is closed, which gives the role up: whether this
        one leads now, then each change. A candidate that is the id of an instance which is
        registered, of the service that the role is named after, leads no longer than that lives.

        Advisory: two may lead for a moment, as after a pause. What a leader writes must be guarded
        by compare-and-set. While the registry is away nobody comes to lead, and who leads stops
        within 10 s.
        """

    @abstractmethod
    async def close(self) -> None:
        """Deregister what this object registered and release everything. Idempotent."""
