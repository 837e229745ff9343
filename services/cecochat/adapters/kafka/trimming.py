"""Drops what is released and older than the retention. The topics themselves drop nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final

from aiokafka.protocol.admin import DeleteRecordsRequest  # type: ignore[import-untyped]

from cecochat.adapters.kafka.cluster import Cluster, Stream, check
from cecochat.adapters.kafka.reading import Readers

Clock = Callable[[], float]

_TIMED_OUT: Final = 7
"""The leader has dropped the records, but some replica has not yet."""


class Trimmer:
    """Keeps what the owners of this process have released, and drops it when it is old enough."""

    def __init__(
        self, cluster: Cluster, readers: Readers, *, retention_ms: int, timeout_s: float
    ) -> None:
        self._cluster = cluster
        self._readers = readers
        self._retention_ms = retention_ms
        self._timeout_ms = int(timeout_s * 500)  # half of it, since the request has a deadline, too
        self._released: dict[Stream, int] = {}

    def release(self, stream: Stream, before: int) -> None:
        """Note that nobody needs the records below `before` any more."""
        self._released[stream] = max(before, self._released.get(stream, 0))

    async def trim(self, now_s: float) -> None:
        """Like `Backplane.trim`, at the time `now_s` (s since 1970). Raises `Unavailable`."""
        oldest_ms = int(now_s * 1_000) - self._retention_ms
        released = dict(self._released)
        bounds = await asyncio.gather(*map(self._readers.bounds, released))
        kept: dict[Stream, int] = {}  # where those begin that still have what was released
        for (stream, before), (start, end) in zip(released.items(), bounds, strict=True):
            if start < before <= end:
                kept[stream] = start
            else:  # it is dropped already, or the log has lost its end
                self._forget(stream, before)
        olds = await asyncio.gather(*(self._readers.offset_at(each, oldest_ms) for each in kept))
        for (stream, start), old in zip(kept.items(), olds, strict=True):
            if (cut := min(released[stream], old)) > start:
                await self._cluster.patiently(
                    f"dropping what is old of {stream}", partial(self._drop, stream, cut)
                )

    def _forget(self, stream: Stream, released: int) -> None:
        if self._released.get(stream) == released:
            del self._released[stream]

    async def _drop(self, stream: Stream, before: int) -> None:
        request = DeleteRecordsRequest(
            [(stream.topic, [(stream.partition, before)])], self._timeout_ms
        )
        answer = await self._cluster.ask(self._cluster.leader(stream), request, "trim")
        ((_, ((_, _, code, *_),), *_),) = answer.topics
        check(0 if code == _TIMED_OUT else code)
