"""The servers of a set stop one after the other, and the last of them when another one serves.

What deploys them may stop several in the same second: Nomad does when it promotes a canary and when
it drains a node.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

from cecochat.ports.discovery import Discovery, Service

log = logging.getLogger(__name__)

WAIT_S: Final = 15.0
"""Together with what a server then needs to stop, below the 30 s after which a deployment kills."""


@asynccontextmanager
async def taking_turns(
    discovery: Discovery, service: Service, server_id: str
) -> AsyncIterator[Turn]:
    """Around a server's whole run: it passes its turn on when it has stopped."""
    turn = Turn(discovery, service, server_id)
    async with aclosing(turn), asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(turn.look())
        yield turn
        looking.cancel()


class Turn:
    """One server's turn to stop, from when `come` returns until `aclose`, which passes it on."""

    def __init__(self, discovery: Discovery, service: Service, server_id: str) -> None:
        self._discovery = discovery
        self._service = service
        self._server_id = server_id
        self._standing = discovery.lead(f"stopping-{service}", server_id)
        self._company = False

    async def look(self) -> None:
        """Remember it once another server of the set is live: whoever is told to stop a second
        after that one has stopped is the last of them, and not one that has always been alone.
        """
        await self._until_others_live()
        self._company = True

    async def come(self) -> None:
        """Wait until no other server of the set stops and, if there ever was one, until another one
        is live; at most `WAIT_S`, after which it is its turn anyway.
        """
        try:
            async with asyncio.timeout(WAIT_S):
                if await self._follows_others():
                    await self._until_others_live()
        except TimeoutError:
            log.warning("its turn to stop has not come in %g s: it stops now", WAIT_S)

    async def aclose(self) -> None:
        """It has stopped, or did not begin to."""
        await self._standing.aclose()

    async def _follows_others(self) -> bool:
        """Returns when nobody else of the set stops: whether it is not alone, or once was not."""
        company = self._company or self._others_live()
        async for ours in self._standing:
            if ours:
                break
            log.info("waits until another %s server has stopped", self._service)
            company = True
        return company

    async def _until_others_live(self) -> None:
        async with aclosing(self._discovery.watch(self._service)) as sets:
            async for _ in sets:
                if self._others_live():
                    return

    def _others_live(self) -> bool:
        live = self._discovery.live(self._service)
        return any(each.instance_id != self._server_id for each in live)
