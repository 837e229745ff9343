"""Signals within this process. They are never written to the disk."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from itertools import islice

from typing_extensions import override

from cecochat.ports.signals import KEPT_MS, Heard, Signals

KEPT = 1_000
"""How many signals of a partition are kept, for listeners that come later or are slow."""


class _Partition:
    """The last signals of a partition, and who waits for the next."""

    def __init__(self) -> None:
        self.kept: deque[Heard] = deque(maxlen=KEPT)
        self.end = 0  # how many there have been
        self.waiting: set[asyncio.Event] = set()

    def since(self, number: int) -> list[Heard]:
        """Return what is kept of the signals from this number on."""
        first = self.end - len(self.kept)
        return list(islice(self.kept, max(0, number - first), None))


class EmbeddedSignals(Signals):
    """The signals of the servers of one process."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._partitions: dict[int, _Partition] = {}

    def _of(self, partition: int) -> _Partition:
        return self._partitions.setdefault(partition, _Partition())

    @override
    def publish(self, partition: int, value: bytes) -> None:
        into, now_ms = self._of(partition), int(self._clock() * 1_000)
        while into.kept and into.kept[0].at_ms < now_ms - KEPT_MS:
            into.kept.popleft()
        into.kept.append(Heard(now_ms, value))
        into.end += 1
        for waiting in into.waiting:
            waiting.set()

    @override
    async def listen(self, partition: int, since_s: float) -> AsyncGenerator[Sequence[Heard]]:
        of, woken = self._of(partition), asyncio.Event()
        oldest_ms = (self._clock() - since_s) * 1_000
        next_ = of.end - sum(each.at_ms >= oldest_ms for each in of.kept)
        of.waiting.add(woken)
        try:
            while True:
                woken.clear()
                if heard := of.since(next_):
                    next_ = of.end
                    yield heard
                else:
                    await woken.wait()
        finally:
            of.waiting.discard(woken)

    @property
    @override
    def dropped(self) -> int:
        return 0
