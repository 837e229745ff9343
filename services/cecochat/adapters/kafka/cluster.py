"""Sends requests to the right broker, each with a deadline, and again as long as that helps."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from aiokafka.client import AIOKafkaClient  # type: ignore[import-untyped]
from aiokafka.errors import (  # type: ignore[import-untyped]
    IncompatibleBrokerVersion,
    KafkaConnectionError,
    KafkaError,
    LeaderNotAvailableError,
    for_code,
)
from aiokafka.protocol.coordination import (  # type: ignore[import-untyped]
    FindCoordinatorRequest,
)
from aiokafka.structs import TopicPartition  # type: ignore[import-untyped]

from cecochat.adapters.kafka.settings import KafkaSettings
from cecochat.domain.errors import Unavailable

BACKOFF_S: Final = 0.1
AGAIN_S: Final = 0.5
"""The pause between attempts to connect to a broker that is down, and between attempts to learn
which broker leads which partition.
"""

_OF_A_GROUP: Final = 0
_NAMES: Final = {
    74: "FencedLeaderEpoch",
    75: "UnknownLeaderEpoch",
    78: "OffsetNotAvailable",
    79: "MemberIdRequired",
    82: "FencedInstanceId",
    89: "ThrottlingQuotaExceeded",
}
_RETRIABLE: Final = frozenset(
    {2, 3, 5, 6, 7, 8, 9, 13, 14, 15, 16, 19, 20, 27, 41, 56, 72, 74, 75, 78, 89}
)
"""Errors that pass: elections, moves, coordinators that load, too few replicas in sync."""

Result = TypeVar("Result")


class Stream(NamedTuple):
    """A partition of a topic, with the name that the topic has at the brokers."""

    topic: str
    partition: int


class Refused(KafkaError):  # type: ignore[misc]  # aiokafka is not typed
    """An error code of a broker (kafka.apache.org/protocol#protocol_error_codes)."""

    def __init__(self, code: int) -> None:
        super().__init__(f"{_NAMES.get(code) or for_code(code).__name__} ({code})")
        self.code = code
        self.retriable = code in _RETRIABLE


def check(code: int) -> None:
    """Raise `Refused` if the code is an error."""
    if code:
        raise Refused(code)


class Cluster:
    """A client of aiokafka, which knows the brokers and the leaders, connects, and negotiates
    versions.

    A broker answers the requests of one connection in order. So long polls have a connection of
    their own, and so have appends; `lane` names the connection.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._client = AIOKafkaClient(
            **settings.connection(), metadata_max_age_ms=60_000, retry_backoff_ms=100
        )
        self.closed = False
        self._connecting: dict[tuple[int, str], asyncio.Task[bool]] = {}
        self._down_until: dict[int, float] = {}  # by broker; by the monotonic clock
        self._learn_after = 0.0  # by the monotonic clock

    async def connect(self) -> None:
        """Find the brokers. Raises `Unavailable`."""
        try:
            async with asyncio.timeout(self._settings.timeout_s * 2):
                await self._client.bootstrap()
        except (KafkaError, OSError, TimeoutError) as error:
            raise Unavailable(f"Kafka at {self._settings.brokers}: {error}") from error

    async def close(self) -> None:
        """Close every connection. Calls that wait for an answer fail."""
        self.closed = True
        connecting = list(self._connecting.values())
        for task in connecting:
            task.cancel()
        if connecting:
            await asyncio.wait(connecting)
        await self._client.close()

    def leader(self, stream: Stream) -> int:
        """Return the broker that leads a partition. Raises `LeaderNotAvailableError`."""
        node: int | None = self._client.cluster.leader_for_partition(TopicPartition(*stream))
        if node is None or node < 0:
            raise LeaderNotAvailableError(f"{stream.topic} {stream.partition} has no leader")
        return node

    def any_broker(self) -> int:
        """Any broker. Raises `KafkaConnectionError` if none is known."""
        node: int | None = self._client.get_random_node()
        if node is None:
            raise KafkaConnectionError("no broker is known")
        return node

    async def ask(self, node: int, request: Any, lane: str = "questions") -> Any:
        """Send one request to one broker, once. Raises `KafkaError`."""
        try:
            await self._connect(node, lane)
            return await self._client.send(node, request, group=lane)
        except NotImplementedError as error:
            raise IncompatibleBrokerVersion(f"broker {node}: {error}") from error
        # KeyError: the connection was closed meanwhile. RuntimeError: it was just closed, says
        # uvloop, before aiokafka notices.
        except (OSError, TimeoutError, KeyError, RuntimeError) as error:
            raise KafkaConnectionError(f"broker {node}: {error!r}") from error

    async def _connect(self, node: int, lane: str) -> None:
        """Connect in a task of its own. The caller may be cancelled, and aiokafka would then leave
        the connection open. If this fails, the next request on the connection raises.
        """
        key = (node, lane)
        connection = self._client._conns.get(key)
        if not (self.closed or (connection and connection.connected())):
            if key not in self._connecting:
                if time.monotonic() < self._down_until.get(node, 0):
                    raise KafkaConnectionError(f"broker {node} cannot be reached")
                task = asyncio.create_task(self._client.ready(node, group=lane))
                self._connecting[key] = task
                task.add_done_callback(partial(self._connected, key))
            await asyncio.wait([self._connecting[key]])
        if self.closed:
            raise KafkaConnectionError("the log was closed")

    def _connected(self, key: tuple[int, str], task: asyncio.Task[bool]) -> None:
        del self._connecting[key]
        if not task.cancelled() and not task.exception() and not task.result():
            self._down_until[key[0]] = time.monotonic() + AGAIN_S

    async def coordinator(self, group: str) -> int:
        """Return the broker that keeps a consumer group. Raises `KafkaError`."""
        answer = await self.ask(self.any_broker(), FindCoordinatorRequest(group, _OF_A_GROUP))
        check(answer.error_code)
        return int(answer.coordinator_id)

    async def follow(self, topics: Sequence[str]) -> None:
        """Keep track of the leaders of these topics' partitions from now on."""
        await self._client.set_topics(topics)

    def learn(self) -> None:
        """Have the leaders looked up again, in the background."""
        now = time.monotonic()
        if now > self._learn_after:
            self._learn_after = now + AGAIN_S
            self._client.force_metadata_update()

    async def patiently(
        self, what: str, call: Callable[[], Awaitable[Result]], within_s: float | None = None
    ) -> Result:
        """Call `call` until it succeeds, for up to `within_s` seconds (`timeout_s` by default).
        Raises `Unavailable`, whose message begins with `what`.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (within_s or self._settings.timeout_s)
        while not self.closed:
            try:
                return await call()
            except KafkaError as error:
                if not error.retriable or self.closed or loop.time() > deadline:
                    raise Unavailable(f"{what}: {error}") from error
            self.learn()
            await asyncio.sleep(BACKOFF_S)
        raise Unavailable("the log was closed")
