"""From where consumer groups continue: their offsets at the coordinator, each with the log's clock
as metadata.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from aiokafka.errors import KafkaError  # type: ignore[import-untyped]
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest  # type: ignore[import-untyped]

from cecochat.adapters.kafka.cluster import Cluster, Refused, Stream, check
from cecochat.adapters.kafka.joining import Joined
from cecochat.domain.log.place import Place

KEPT_MS: Final = 10 * 365 * 86_400_000
"""How long offsets are kept: longer than any log waits for its readers."""

_NOBODY: Final = (-1, "")  # generation and member of a commit for a group without members

Result = TypeVar("Result")


class Stored(NamedTuple):
    """The key of a stored offset."""

    group: str
    topic: str
    partition: int


class Offsets:
    """Offsets of groups, which anybody can read. Anybody can commit for a group without members,
    but only members for a group with members.

    Brokers drop the offsets of a group without members after offsets.retention.minutes (7 days by
    default), unless the commit says how long to keep them, as the commits here do. What members
    commit is kept for that time after the last member has left.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._coordinators: dict[str, int] = {}
        self._fetched = Joined(self._fetch)  # group and stream -> place

    async def committed(self, key: Stored) -> Place | None:
        """From where to continue; None if nothing was committed. Raises `Unavailable`."""
        stream = Stream(key.topic, key.partition)
        return await self._patiently(key.group, lambda: self._fetched.answer(key.group, stream))

    async def commit(self, group: str, topic: str, places: dict[int, Place]) -> None:
        """Commit places by partition, for a group without members. Raises `Unavailable`."""
        await self._patiently(group, lambda: self._commit(group, topic, places))

    async def _fetch(
        self, group: str, parts: Sequence[Stream]
    ) -> dict[Stream, Place | KafkaError | None]:
        topics: dict[str, list[int]] = {}
        for topic, partition in parts:
            topics.setdefault(topic, []).append(partition)
        answer = await self._ask(group, OffsetFetchRequest(group, list(topics.items())))
        check(answer.error_code)
        return {
            Stream(topic, partition): _place(offset, clock_ms, code)
            for topic, partitions in answer.topics
            for partition, offset, clock_ms, code in partitions
        }

    async def _commit(self, group: str, topic: str, places: dict[int, Place]) -> None:
        partitions = [(p, place.offset, str(place.clock_ms)) for p, place in places.items()]
        request = OffsetCommitRequest(group, *_NOBODY, KEPT_MS, [(topic, partitions)])
        answer = await self._ask(group, request)
        for _, results in answer.topics:
            for _, code in results:
                check(code)

    async def _ask(self, group: str, request: Any) -> Any:
        if group not in self._coordinators:
            self._coordinators[group] = await self._cluster.coordinator(group)
        return await self._cluster.ask(self._coordinators[group], request)

    async def _patiently(self, group: str, call: Callable[[], Awaitable[Result]]) -> Result:
        async def once() -> Result:
            try:
                return await call()
            except KafkaError:
                self._coordinators.pop(group, None)  # it may have moved
                raise

        return await self._cluster.patiently(f"offsets of the group {group}", once)


def _place(offset: int, clock_ms: str, code: int) -> Place | KafkaError | None:
    if code:
        return Refused(code)
    return None if offset < 0 else Place(int(clock_ms or 0), int(offset))
