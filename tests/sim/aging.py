"""Chats do not keep messages for ever: what was said up to now is too old at once, for everybody.

That is drawn from a stream of its own, so that all else of a seed stays as it is.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from cecochat.domain.log.ids import message_id, stamp_at
from tests.sim.state import State

if TYPE_CHECKING:
    from tests.sim.spoiling import Action
    from tests.sim.world import World


class Aging(State):
    """The part of the world where messages get too old."""

    def do_outlive(self) -> None:
        """Nothing is kept that was said before this millisecond."""
        self.history.kept_from = message_id(stamp_at(self.now_ms), 0)


class Ages:
    """When that happens: with the probability `outlive` after each step; without weights, in a
    quarter of the runs, now and then.
    """

    def __init__(self, seed: int, weights: Mapping[str, float] | None) -> None:
        self._rng = random.Random(f"{seed}-ages")
        own = self._rng.choice([0, 0, 0, 0.02])
        self._probability = own if weights is None else weights.get("outlive", 0)

    def draw(self, _: World) -> Iterator[Action]:
        """What is done before the next step."""
        if self._rng.random() < self._probability:
            yield ("outlive",)
