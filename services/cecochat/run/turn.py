"""Makes the servers of a set stop one after the other, the last one once another one serves.

A deployment may stop several of them in the same second. Nomad does so when it promotes a canary
and when it drains a node.
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
"""With the time that a server then needs to stop, this stays below the 30 s until it is killed."""


@asynccontextmanager
async def taking_turns(
    discovery: Discovery, service: Service, server_id: str
) -> AsyncIterator[Turn]:
    """Hold a turn around a server's whole run, and pass it on when the server has stopped."""
    turn = Turn(discovery, service, server_id)
    async with aclosing(turn), asyncio.TaskGroup() as tasks:
        looking = tasks.create_task(turn.look())
        yield turn
        looking.cancel()


class Turn:
    """One server's turn to stop. It begins when `come` returns; `aclose` passes it on."""

    def __init__(self, discovery: Discovery, service: Service, server_id: str) -> None:
        self._discovery = discovery
        self._service = service
        self._server_id = server_id
        self._standing = discovery.lead(f"stopping-{service}", server_id)
        self._company = False

    async def look(self) -> None:
        """Remember that another server of the set was live.

        A server that is told to stop after all the others is then known to be the last of them, and
        not one that has always been alone.
        """
        await self._until_others_live()
        self._company = True

    async def come(self) -> None:
        """Wait until no other server of the set is stopping, for at most `WAIT_S`.

        If there ever was another server, also wait until another one is live.
        """
        try:
            async with asyncio.timeout(WAIT_S):
                if await self._follows_others():
                    await self._until_others_live()
        except TimeoutError:
            log.warning("this server's turn to stop has not come in %g s: it stops now", WAIT_S)

    async def aclose(self) -> None:
        """Pass the turn on: the server has stopped, or did not begin to."""
        await self._standing.aclose()

    async def _follows_others(self) -> bool:
        """Wait until no other server is stopping. Return whether there is, or was, another one."""
        company = self._company or self._others_live()
        async for ours in self._standing:
            if ours:
                break
            log.info("this server waits until another %s server has stopped", self._service)
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
