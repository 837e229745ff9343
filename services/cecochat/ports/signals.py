"""Signals: what messaging servers tell each other now or never, such as who types and who is
online. Nothing waits for them, and nothing is wrong if they are lost.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from typing import Final, NamedTuple

TOPIC: Final = "signals"
KEPT_MS: Final = 10 * 60_000
"""How long a topic keeps signals, at least."""


class Heard(NamedTuple):
    """A signal, and when it was published, in ms since 1970 by the clock of the topic."""

    at_ms: int
    value: bytes


class Signals(ABC):
    """A topic with the partitions of the log, whose records may be lost."""

    @abstractmethod
    def publish(self, partition: int, value: bytes) -> None:
        """Publish a signal soon, without waiting. While the topic takes too few, the oldest that
        wait are dropped.
        """

    @abstractmethod
    def listen(self, partition: int, since_s: float) -> AsyncGenerator[Sequence[Heard]]:
        """Yield the signals of a partition in one order for all who listen, without end: first
        those of the last `since_s` seconds that are still kept, then what comes.

        A batch is never empty. A listener that falls far behind, or that the topic does not answer
        for a while, misses some. Close the generator (`aclosing`) to stop; cancelling is safe.
        """

    @property
    @abstractmethod
    def dropped(self) -> int:
        """How many signals this process has dropped instead of publishing them."""
