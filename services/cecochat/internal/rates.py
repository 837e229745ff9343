"""Rates of what a server carries: by how much its counters have risen between two answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from cecochat.internal.v1.internal_pb2 import Load


class Reading(NamedTuple):
    """What a server carried at a moment, in seconds of the monotonic clock."""

    at_s: float
    load: Load


@dataclass(frozen=True, slots=True)
class Pair:
    """Two readings of one server, the second one later than the first."""

    before: Reading
    now: Reading

    def rise(self, counter: Callable[[Load], float]) -> float:
        """Return by how much a counter has risen."""
        return max(counter(self.now.load) - counter(self.before.load), 0)

    def rate(self, counter: Callable[[Load], float]) -> float:
        """Return by how much a counter rises in a second."""
        return self.rise(counter) / (self.now.at_s - self.before.at_s)
