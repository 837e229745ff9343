"""What every transport offers: one stream of frames at a time to one messaging server."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager

from cecochat.client.lookup import Route
from cecochat.domain.device.device import Disconnected
from cecochat.v1.messaging_pb2 import ClientFrame, ServerFrame


class StreamEnded(Exception):
    """Nothing can be written any more. Reading says why."""


class Call(ABC):
    """A stream that is open."""

    @abstractmethod
    async def begin(self, hello: ClientFrame) -> None:
        """Write the first frame. Raises `StreamEnded`."""

    @abstractmethod
    async def write(self, frame: ClientFrame) -> None:
        """Write a frame, once there is room. Raises `StreamEnded`."""

    @abstractmethod
    async def read(self) -> ServerFrame | None:
        """Return the next frame, or None at the end. Raises `ChatError`."""


class Transport(ABC):
    """A way to open streams."""

    @abstractmethod
    def address(self, route: Route) -> str:
        """Return the address that a route names for this transport. Raises `NotReachable`."""

    @abstractmethod
    def moved(self, route: Route, to: Disconnected) -> Route | None:
        """Return the route to the server that a disconnect names; None if it names none."""

    @abstractmethod
    def open(self, address: str, token: str) -> AbstractAsyncContextManager[Call]:
        """Open a stream, which ends with the block. Raises `ChatError`."""
