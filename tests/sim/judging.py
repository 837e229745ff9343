"""Nodes whose judge refuses all that people send, for a while. Another node may have accepted it
before.

When that is so is drawn from a stream of its own, so that all else of a seed stays as it is.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from cecochat.domain.errors import Refusal
from cecochat.v1 import errors_pb2
from tests.sim.state import State

if TYPE_CHECKING:
    from tests.sim.spoiling import Action
    from tests.sim.world import World

JUDGED = Refusal(errors_pb2.ERROR_CODE_FORBIDDEN, "the judge says no")


class Judging(State):
    """The part of the world that judges."""

    def do_judge(self, node: int, refuses: bool) -> bool:
        """The judge of a node changes its mind."""
        changes = self.runs(node) and self.judges[node] != refuses
        self.judges[node] ^= changes
        return changes


class Judges:
    """When a judge changes its mind: with the probability `judge` after each step; without weights,
    in half of the runs, now and then or often.
    """

    def __init__(self, seed: int, weights: Mapping[str, float] | None) -> None:
        self._rng = random.Random(f"{seed}-judges")
        own = self._rng.choice([0, 0, 0, 0.01, 0.03, 0.1])
        self._probability = own if weights is None else weights.get("judge", 0)

    def draw(self, world: World) -> Iterator[Action]:
        """What is done before the next step."""
        if self._rng.random() < self._probability:
            yield "judge", self._rng.randrange(world.shape.nodes), self._rng.random() < 0.4
