"""The connect server, which tells callers where their messaging server is."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from functools import partial
from itertools import count

from cecochat.documents.follow import Following, valid
from cecochat.domain.cluster import assignment
from cecochat.domain.cluster.configuration import Config
from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import UserId
from cecochat.domain.session.bucket import Rates
from cecochat.ports.configuration import ASSIGNMENT
from cecochat.ports.discovery import Discovery, Instance
from cecochat.v1 import errors_pb2
from cecochat.v1.directory_pb2 import BackOff, LookupResponse

VALID_FOR_S = 60
RETRY_MS = 1_000


class Directory:
    """Answers lookups from what it was told last, never from the network."""

    def __init__(self, discovery: Discovery, partitions: int) -> None:
        self._discovery = discovery
        self._partitions = partitions
        self._assignment: dict[int, str] | None = None  # partition -> server id
        self._config = Config()
        self._turn = count()
        self._rates = Rates("looks up")
        self.ready = asyncio.Event()  # set once the assignment is known

    def configure(self, config: Config) -> None:
        """Follow a new configuration."""
        self._config = config

    async def follow(self, following: Following) -> None:
        """Follow the assignment, until cancelled."""
        parse = partial(assignment.parse, partitions=self._partitions)
        async with aclosing(valid(following, ASSIGNMENT, parse)) as assignments:
            async for _, owners in assignments:
                self._assignment = owners
                self.ready.set()

    @property
    def not_ready(self) -> str | None:
        """Why this server cannot answer yet, or None if it is ready."""
        return "waiting for the assignment" if self._assignment is None else None

    def works(self) -> dict[str, bool]:
        """Return what a lookup would find now: whether a server of each kind answers."""
        live = {name: bool(self._discovery.live(name)) for name in ("messaging", "history")}
        return {"connect": self._assignment is not None, **live}

    def reached(self) -> list[str]:
        """Return the URLs at which browsers reach the servers that are live now."""
        live = [*self._discovery.live("messaging"), *self._discovery.live("history")]
        return [each.web for each in live if each.web]

    def lookup(self, user_id: UserId) -> LookupResponse:
        """Return where a user has to go. There is no `history` and no `history_http` while no
        history server is live. Raises `Refusal`: unavailable while no live server owns the user's
        partition, or rate_limited.
        """
        config = self._config.of(user_id)
        self._rates.check(
            user_id, time.monotonic(), config.connects_rate_per_user, config.connects_burst
        )
        partition = partition_of(user_id, self._partitions)
        messaging = self._owner(partition)
        return LookupResponse(
            user_id=user_id,
            partition=partition,
            server_id=messaging.instance_id,
            messaging=messaging.address,
            websocket=messaging.web,
            **self._history(),
            valid_for_s=VALID_FOR_S,
            backoff=BackOff(
                base_s=config.connect_backoff_base_s,
                factor=config.connect_backoff_factor,
                max_s=config.connect_backoff_max_s,
                jitter=config.connect_backoff_jitter,
            ),
        )

    def owner_of(self, partition: int) -> Instance | None:
        """Return the live server that a partition is assigned to, if there is one."""
        server_id = (self._assignment or {}).get(partition)
        live = self._discovery.live("messaging")
        return next((each for each in live if each.instance_id == server_id), None)

    def _owner(self, partition: int) -> Instance:
        if instance := self.owner_of(partition):
            return instance
        raise Refusal(
            errors_pb2.ERROR_CODE_UNAVAILABLE,
            f"no live messaging server owns partition {partition} at the moment: try again",
            RETRY_MS,
        )

    def _history(self) -> dict[str, str]:
        """Return the addresses of history servers. They take turns, so that a client that asks
        again because one does not answer gets another. Those of an earlier version have no HTTP.
        """
        live, turn = self._discovery.live("history"), next(self._turn)
        urls = [each.web for each in live if each.web]
        found = {"history": [each.address for each in live], "history_http": urls}
        # a client can chat without it
        return {name: some[turn % len(some)] for name, some in found.items() if some}
