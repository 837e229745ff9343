"""Elects a leader by a lock that belongs to a session (developer.hashicorp.com/consul, "leader
election").

A session ends when the health check of its server fails. It also ends when it is not renewed, at
the latest after twice its time to live. Then its lock is free, after the lock delay.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any, Final

import consul  # type: ignore[import-untyped]

from cecochat.adapters.consul.connection import OutageLog, answer
from cecochat.adapters.consul.settings import ConsulSettings
from cecochat.domain.errors import Unavailable

log = logging.getLogger(__name__)

TTL_S: Final = 10  # the least that Consul accepts
LOCK_DELAY_S: Final = 1
EVERY_S: Final = 1.0
CALL_S: Final = 3.0


class Candidate:
    """A candidate for a role."""

    def __init__(
        self,
        settings: ConsulSettings,
        client: Any,
        role: str,
        name: str,
        trouble: OutageLog,
        checks: Callable[[], list[str]],
    ) -> None:
        """Make a candidate. `checks` returns the ids of the health checks that its session depends
        on, at the time when the session is created.
        """
        self._settings = settings
        self._consul = client
        self._key = f"{settings.namespace}/leaders/{role}"
        self._name = name
        self._trouble = trouble
        self._checks = checks
        self._session: str | None = None

    async def stand(self) -> AsyncGenerator[bool]:
        """Like `Discovery.lead`."""
        loop = asyncio.get_running_loop()
        leads: bool | None = None  # None: not asked yet
        until_s = 0.0
        try:
            while True:
                asked_s = loop.time()
                try:
                    now = await self._holds()
                    until_s = asked_s + TTL_S
                    self._trouble.ends(self._key)
                except Unavailable as error:
                    self._trouble.begins(self._key, error)
                    now = bool(leads) and loop.time() + EVERY_S + CALL_S < until_s
                if now != leads:
                    if now or leads:
                        says = "leads" if now else "no longer leads"
                        log.info("%s %s %s", self._name, says, self._key)
                    leads = now
                    yield leads
                await asyncio.sleep(EVERY_S)
        finally:
            await self._give_up()

    async def _holds(self) -> bool:
        """Renew the session, take the lock if it is free, and return whether this candidate holds
        it. Raises `Unavailable`.
        """
        session = self._consul.session
        try:
            if self._session is None:
                self._session = await self._ask(
                    session.create(
                        name=self._name, checks=self._checks(), lock_delay=LOCK_DELAY_S, ttl=TTL_S
                    )
                )
            else:
                await self._ask(session.renew(self._session))
        except Unavailable as error:
            if isinstance(error.__cause__, consul.NotFound):
                self._session = None  # it has ended; the next call creates another
                return False
            raise
        return bool(
            await self._ask(self._consul.kv.put(self._key, self._name, acquire=self._session))
        )

    async def _ask(self, call: Any) -> Any:
        return await answer(self._settings, call, CALL_S)

    async def _give_up(self) -> None:
        if self._session is not None:
            with suppress(Unavailable):
                await self._ask(self._consul.session.destroy(self._session))
