"""The messaging server: owns the partitions that the assignment gives it and serves the sessions of
their users.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry

from cecochat.domain import assignment
from cecochat.domain.bucket import TokenBucket
from cecochat.domain.configuration import Config
from cecochat.domain.errors import ProducerEnded, Refusal
from cecochat.domain.limits import OwnerLimits
from cecochat.domain.partitions import partition_of
from cecochat.domain.records import Takeover
from cecochat.messaging.connection import Connection, Read, Write
from cecochat.messaging.metrics import MessagingMetrics
from cecochat.messaging.partition import Log, OwnedPartition
from cecochat.ports.configuration import ASSIGNMENT, Configuration
from cecochat.runtime.follow import valid
from cecochat.runtime.tokens import Identity, Verifier
from cecochat.v1 import errors_pb2

log = logging.getLogger(__name__)

RETRY_S = 0.2
DRAIN_TIMEOUT_S = 10.0
BUCKETS_MAX = 100_000
NEXT_OWNER_MS = 200


class MessagingServer:
    """`run` follows the assignment until it is cancelled; `serve` is called by a transport, once a
    stream.
    """

    def __init__(
        self, server_id: str, log_: Log, verifier: Verifier, registry: CollectorRegistry
    ) -> None:
        self.server_id = server_id
        self.log = log_
        self.verifier = verifier
        self.metrics = MessagingMetrics(registry)
        self.limits = OwnerLimits()
        self._config = Config()
        self._connections: set[Connection] = set()
        self._by_user: Counter[str] = Counter()
        self._sends: OrderedDict[str, TokenBucket] = OrderedDict()
        self._connects: OrderedDict[str, TokenBucket] = OrderedDict()
        self._assigned: dict[int, int] | None = None  # partition -> latest version that gives it
        self._reassigned = asyncio.Event()
        self._progress = asyncio.Event()  # `not_ready` may have changed
        self._registry = registry
        self._owned: dict[int, OwnedPartition] = {}
        self._draining = False
        self._next_session = 0

    # -- configuration

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._config

    def configure(self, config: Config) -> None:
        """Follow a new configuration; sessions that are open keep their queue bound."""
        self._config = config
        self.limits.resend_window_ms = int(config.resend_window_s * 1_000)
        self.limits.tail_max_bytes = config.tail_max_bytes

    # -- ownership

    async def run(self, configuration: Configuration) -> None:
        """Own what the assignment says, as long as it says so."""
        parse = partial(assignment.parse, partitions=self.log.partitions)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._check_tokens())
            tasks: dict[int, asyncio.Task[None]] = {}
            followed = valid(configuration, ASSIGNMENT, parse, self._registry)
            async with aclosing(followed) as assignments:
                async for version, owners in assignments:
                    self._assigned = {
                        p: version for p, server_id in owners.items() if server_id == self.server_id
                    }
                    self._reassigned.set()
                    self._reassigned = asyncio.Event()
                    self._progress.set()
                    for partition in tasks.keys() - self._assigned.keys():
                        tasks.pop(partition).cancel()
                    for partition in self._assigned.keys() - tasks.keys():
                        self._own(partition)
                        tasks[partition] = group.create_task(self._keep(partition))

    def _own(self, partition: int) -> OwnedPartition:
        assert self._assigned is not None
        version = self._assigned.get(partition, 0)
        self._owned[partition] = owned = OwnedPartition(
            self.log,
            partition,
            self.server_id,
            version,
            self.limits,
            self.metrics,
            on_ready=self._progress.set,
        )
        return owned

    async def _keep(self, partition: int) -> None:
        """Take the partition over, again and again, as long as it is assigned to this server."""
        owned = self._owned[partition]
        try:
            while True:
                try:
                    await self._until_assigned_after(partition, await owned.run())
                except ProducerEnded as error:
                    self.metrics.producer_failures.inc()
                    log.warning("partition %s: %s; taking it over again", partition, error)
                    _check_cancelled()
                    await asyncio.sleep(RETRY_S)
                owned = self._own(partition)
        finally:
            if self._owned.get(partition) is owned:  # else it is assigned here again already
                del self._owned[partition]

    async def _until_assigned_after(self, partition: int, later: Takeover) -> None:
        log.warning("partition %s: taken over by %s", partition, later.server_id)
        assert self._assigned is not None
        while self._assigned.get(partition, 0) < later.assignment_version:
            await self._reassigned.wait()

    @property
    def not_ready(self) -> str | None:
        """Why no session should come here now; None: ready."""
        if self._draining:
            return "draining"
        if self._assigned is None:
            return "waiting for the assignment"
        waiting = [
            p for p in self._assigned if p not in self._owned or not self._owned[p].ready.is_set()
        ]
        return f"taking over partitions {waiting}" if waiting else None

    async def until_ready(self) -> None:
        """Wait until every assigned partition is taken over."""
        while self.not_ready:
            self._progress.clear()
            await self._progress.wait()

    def partition_for(self, user_id: str) -> OwnedPartition:
        """The partition of a user. Raises `Refusal` where this server does not own it or not
        yet.
        """
        partition = partition_of(user_id, self.log.partitions)
        if self._assigned is None or partition not in self._assigned:
            raise Refusal(
                errors_pb2.ERROR_CODE_WRONG_SERVER,
                f"{user_id} is on partition {partition}, not here: ask the connect server again",
            )
        owned = self._owned.get(partition)
        if owned is None or not owned.ready.is_set():
            raise _taking_over(partition)
        return owned

    def check_partition(self, owned: OwnedPartition) -> None:
        """Raises `Refusal` where this is not, or no longer, what owns the partition."""
        if self._owned.get(owned.partition) is not owned or not owned.ready.is_set():
            raise _taking_over(owned.partition)

    # -- sessions

    async def serve(
        self, token: str, identity: Identity, read: Read, write: Write
    ) -> Refusal | None:
        """Serve one stream to its end; returns why the server ended it. Raises `Refusal` before the
        first frame.
        """
        self._admit(identity.user_id)
        self._next_session += 1
        session_id = f"{self.server_id}/{self._next_session}"
        connection = Connection(self, token, identity, session_id, read, write)
        self._connections.add(connection)
        self._by_user[identity.user_id] += 1
        self.metrics.sessions.inc()
        try:
            refusal = await connection.run()
        finally:
            self._forget(connection, identity.user_id)
        if refusal:
            self.metrics.disconnects.labels(refusal.name).inc()
        return refusal

    def _forget(self, connection: Connection, user_id: str) -> None:
        self._connections.discard(connection)
        self._by_user[user_id] -= 1
        if not self._by_user[user_id]:
            del self._by_user[user_id]
        self.metrics.sessions.dec()

    def _admit(self, user_id: str) -> None:
        if self._draining:
            raise Refusal(
                errors_pb2.ERROR_CODE_DRAINING,
                "this server stops: ask the connect server for another",
            )
        self._check_connect_rate(user_id)
        config = self._config
        if len(self._connections) >= config.sessions_max_per_server:
            raise Refusal(
                errors_pb2.ERROR_CODE_TOO_MANY_SESSIONS,
                f"this server holds {config.sessions_max_per_server} sessions: try again later",
            )
        if self._by_user[user_id] >= config.sessions_max_per_user:
            raise Refusal(
                errors_pb2.ERROR_CODE_TOO_MANY_SESSIONS,
                f"{user_id} has {config.sessions_max_per_user} sessions: close one of them first",
            )

    def _check_connect_rate(self, user_id: str) -> None:
        config, now_s = self._config, time.monotonic()
        bucket = _bucket(self._connects, user_id, config.connects_burst, now_s)
        if wait_s := bucket.try_take(now_s, config.connects_rate_per_user, config.connects_burst):
            raise Refusal(
                errors_pb2.ERROR_CODE_RATE_LIMITED,
                f"{user_id} connects too often: wait {wait_s:.1f} s",
                int(wait_s * 1_000) + 1,
            )

    def sends_delay_s(self, user_id: str, count: int) -> float:
        """Account for sends of a user; how long to wait before taking them, in s."""
        config, now_s = self._config, time.monotonic()
        bucket = _bucket(self._sends, user_id, config.sends_burst, now_s)
        return bucket.take(count, now_s, config.sends_rate_per_user, config.sends_burst)

    async def _check_tokens(self) -> None:
        while True:
            await asyncio.sleep(1)
            now_s = time.time()
            for connection in list(self._connections):
                connection.check_token(now_s)

    # -- the end

    async def drain(self) -> None:
        """Take no new sessions and no more sends, answer those under way, send the sessions away
        over the drain time, forward what is owed.
        """
        self._draining = True
        await self._for_each_owned(lambda owned: owned.finish_sends(DRAIN_TIMEOUT_S))
        connections = list(self._connections)
        pause_s = self._config.drain_spread_s / max(len(connections), 1)
        for number, connection in enumerate(connections):
            await asyncio.sleep(pause_s if number else 0)
            connection.session.close(
                Refusal(
                    errors_pb2.ERROR_CODE_DRAINING,
                    "this server stops: ask the connect server where to go, then resume",
                    NEXT_OWNER_MS,
                )
            )
        await self._for_each_owned(lambda owned: owned.drain(DRAIN_TIMEOUT_S))

    async def _for_each_owned(
        self, do: Callable[[OwnedPartition], Coroutine[Any, Any, None]]
    ) -> None:
        async with asyncio.TaskGroup() as group:
            for owned in self._owned.values():
                group.create_task(do(owned))


def _check_cancelled() -> None:
    """A failure that meets a cancellation hides it (until Python 3.13), and must not."""
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError


def _bucket(
    buckets: OrderedDict[str, TokenBucket], user_id: str, burst: int, now_s: float
) -> TokenBucket:
    """The user's bucket; the one unused for longest is forgotten, and would be full again."""
    if user_id in buckets:
        buckets.move_to_end(user_id)
    else:
        buckets[user_id] = TokenBucket(burst, now_s)
        if len(buckets) > BUCKETS_MAX:
            buckets.popitem(last=False)
    return buckets[user_id]


def _taking_over(partition: int) -> Refusal:
    return Refusal(
        errors_pb2.ERROR_CODE_UNAVAILABLE,
        f"partition {partition} is being taken over: try again at once",
        NEXT_OWNER_MS,
    )
