"""Follows one service by blocking queries
(https://developer.hashicorp.com/consul/api-docs/features/blocking).
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Callable
from typing import Any

from cecochat.adapters.consul.connection import CALL_S, OutageLog, answer
from cecochat.adapters.consul.services import address_of, instance_of, name
from cecochat.adapters.consul.settings import ConsulSettings
from cecochat.adapters.consul.snapshot import LiveServers
from cecochat.domain.errors import Unavailable
from cecochat.ports.discovery import Instance, Service, Unproven

log = logging.getLogger(__name__)

WAIT_S = 55  # how long a query waits for a change; Consul adds up to a sixteenth
WAIT_AND_MORE_S = 70.0
PACE_S = 0.05  # the pause between two queries, however fast they are answered
PACE_ENTRY_S = 0.001  # added for each entry: whoever can write to Consul can list thousands
RETRY_S, RETRY_MAX_S = 0.25, 2.0  # each wait is half to all of this, at random

UNPROVEN = (
    "%r at %r in Consul is not signed with the secret of this cluster, so no client is sent there. "
    "It is no server of ours, or it has another CECOCHAT_CLUSTER_SECRET_FILE: check that file"
)


class ServiceWatch:
    """The live servers of one service, kept up to date by an endless series of queries."""

    def __init__(
        self,
        settings: ConsulSettings,
        consul: Any,
        service: Service,
        trouble: OutageLog,
        changed: Callable[[], None],
    ) -> None:
        self.asked = asyncio.Event()  # set once the first query was answered, or has failed
        self._settings = settings
        self._consul = consul
        self._service = service
        self._trouble = trouble
        self._changed = changed
        self._snapshot = LiveServers(settings.grace_s)
        self._index: int | None = None  # of the last answer; None: the next query does not wait
        self._failures = 0
        self._unproven: dict[str, Unproven] = {}  # by their ids in Consul

    @property
    def unproven(self) -> tuple[Unproven, ...]:
        """What the last answer listed without a valid signature."""
        return tuple(self._unproven.values())

    @property
    def live(self) -> tuple[Instance, ...]:
        return self._snapshot.live

    async def run(self) -> None:
        """Query again and again, until cancelled."""
        while True:
            pause_s = PACE_S
            try:
                index, entries = await self._query()
            except Unavailable as error:
                pause_s = self._failed(error)
            else:
                self._answered(index, entries)
                pause_s += PACE_ENTRY_S * len(entries)
            self.asked.set()
            await asyncio.sleep(pause_s)

    async def _query(self) -> tuple[int, list[Any]]:
        """Return the index and the healthy entries, as soon as the index is not ours any more, or
        after a wait.
        """
        grace_s = self._snapshot.grace_left_s(self._now())
        wait_s = WAIT_S if grace_s is None else min(WAIT_S, math.ceil(grace_s) or 1)
        query = self._consul.health.service(
            name(self._settings, self._service),
            passing=True,
            index=self._index,
            wait=f"{wait_s}s",
        )
        within_s = CALL_S if self._index is None else WAIT_AND_MORE_S
        index, entries = await answer(self._settings, query, within_s)
        return int(index), entries or []

    def _answered(self, index: int, entries: list[Any]) -> None:
        self._failures = 0
        self._trouble.ends(self._service)
        if self._index is not None and index < self._index:  # Consul has lost its data
            self._snapshot.disturbed()
            self._index = None
        else:
            self._index = max(index, 1)
        before = self.live
        self._snapshot.answered(self._signed(entries), self._now())
        if self.live != before:
            self._changed()

    def _signed(self, entries: list[Any]) -> list[Instance]:
        """Return the entries that servers of this cluster have signed. Each other one is logged
        once.
        """
        instances, unproven = [], {}
        for entry in entries:
            try:
                instances.append(instance_of(self._settings, self._service, entry))
            except ValueError:
                found = Unproven(self._service, entry["Service"]["ID"], address_of(entry))
                unproven[found.registered_id] = found
                if found.registered_id not in self._unproven:
                    log.error(UNPROVEN, found.registered_id, found.address)
        self._unproven = unproven
        return instances

    def _failed(self, error: Unavailable) -> float:
        """Take in a failure, and return how many seconds to wait."""
        self._trouble.begins(self._service, error)
        self._snapshot.disturbed()
        self._index = None
        longest_s: float = min(RETRY_S * 2**self._failures, RETRY_MAX_S)
        self._failures = min(self._failures + 1, 16)
        return longest_s * random.uniform(0.5, 1.0)  # noqa: S311

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
