"""What the Python client finds between its streams: a clock, a lookup and a transport."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from typing_extensions import override

from cecochat.client.backoff import BackOff
from cecochat.client.lookup import Lookup, Route
from cecochat.client.transport.base import Call, Transport
from cecochat.domain.device.device import Disconnected

ADDRESS = "messaging.example:7001"
ROUTE = Route("alice", 9, "messaging-1", ADDRESS, None, 3_600.0, BackOff())


class Clock:
    """The time of the running loop, in seconds, which only passes by `turn`."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._now_s = loop.time()
        loop.time = lambda: self._now_s  # type: ignore[method-assign]

    def turn(self, by_s: float) -> None:
        """Let time pass."""
        self._now_s += by_s


class ScriptedLookup(Lookup):
    """A connect server that always answers the same."""

    @override
    async def _ask(self, token: str) -> Route:
        return ROUTE


class ScriptedTransport(Transport):
    """Opens a stream once it is given a call. `opening` is the address that the client waits for,
    `moved_to` what a server said about where to go.
    """

    def __init__(self) -> None:
        self.opening = ""
        self.moved_to: Disconnected | None = None
        self.is_open = False
        self.calls: asyncio.Queue[Call] = asyncio.Queue()

    @override
    def address(self, route: Route) -> str:
        return route.messaging

    @override
    def moved(self, route: Route, to: Disconnected) -> Route | None:
        self.moved_to = to
        return replace(route, messaging=to.address) if to.address else None

    @override
    @asynccontextmanager
    async def open(self, address: str, token: str) -> AsyncIterator[Call]:
        self.opening = address
        call = await self.calls.get()
        self.opening, self.is_open = "", True
        try:
            yield call
        finally:
            self.is_open = False
