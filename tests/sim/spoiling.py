"""Records that land and that nobody can read: by a producer's defect, a broken disk, a stranger who
writes into the log.

They are drawn from a stream of their own, so that the other faults of a seed stay as they are.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from cecochat.domain.log.records import LogRecord, Origin, Takeover
from tests.sim.log import Producer
from tests.sim.state import State

if TYPE_CHECKING:
    from tests.sim.world import World

Action = tuple[object, ...]


class Spoiling(State):
    """The part of the world that makes records unreadable."""

    def do_spoil(self, name: str) -> bool:
        """The oldest send of a producer lands, and nobody can read it."""
        producer = self.producers.get(name)
        partition = producer.server.partition if producer and producer.server else -1
        requests = producer.requests.get(partition) if producer else None
        if not requests or not isinstance(requests[0], Origin):
            return False
        self._append_garbage(partition, requests.popleft())
        return True

    def _append_garbage(self, partition: int, record: LogRecord) -> int:
        """A session that resumes across it is told of a gap, since it might have been readable."""
        for client in self.clients.values():
            client.record.gap_expected |= self.places[client.user] == partition
        return self.logs[partition].append_garbage(record, self.now_ms)

    def do_spoil_other(self, name: str, target: int) -> bool:
        """The oldest request to a partition lands, a copy or what owners say of themselves, and
        nobody can read it; its producer hears that it has landed.
        """
        producer = self.producers.get(name)
        if self.cuts or target in self.stalled or not producer or not _is_other(producer, target):
            return False
        record = producer.requests[target].popleft()
        offset = self._append_garbage(target, record)
        if producer.server:
            producer.answers.setdefault(target, deque()).append((record, offset))
        return True


def _is_other(producer: Producer, target: int) -> bool:
    requests = producer.requests.get(target)
    if not requests:
        return False
    return not isinstance(requests[0], Origin | Takeover)


class Spoils:
    """When to spoil what: with the probability `spoil_other` after each step, or one of the
    seed's own.
    """

    def __init__(self, seed: int, weights: Mapping[str, float]) -> None:
        self._rng = random.Random(f"{seed}-spoils")
        own = self._rng.choice([0, 0, 0, 0.003, 0.02])
        self._probability = weights.get("spoil_other", own)

    def draw(self, world: World) -> Iterator[Action]:
        """What is done before the next step."""
        if self._rng.random() < self._probability:
            among = [
                (name, target)
                for name, producer in world.producers.items()
                for target in producer.requests
                if target not in world.stalled and _is_other(producer, target)
            ]
            if among:
                yield ("spoil_other", *self._rng.choice(among))
