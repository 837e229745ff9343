"""Owners of the first version, which copy a message to every recipient, also to those of its own
partition. Nodes start with either version.

They are drawn from a stream of their own, so that the other faults of a seed stay as they are.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from tests.sim.spoiling import Action
from tests.sim.state import State

if TYPE_CHECKING:
    from tests.sim.world import World


class Upgrading(State):
    """The part of the world that says which version a node runs."""

    def do_old_version(self, node: int, is_old: bool) -> bool:
        """The next owners that begin on a node are of that version."""
        if is_old == (node in self.old_versions):
            return False
        self.old_versions ^= {node}
        return True


class Upgrades:
    """In one run of six, or with the probability `old_version`, nodes change their version now and
    then.
    """

    def __init__(self, seed: int, nodes: int, weights: Mapping[str, float]) -> None:
        self._rng = random.Random(f"{seed}-upgrades")
        self._nodes = nodes
        own = self._rng.choice([0, 0, 0, 0, 0, 0.01])
        self._probability = weights.get("old_version", own)

    def first(self) -> list[Action]:
        """What is done before all else."""
        if not self._probability:
            return []
        return [("old_version", node, True) for node in range(self._nodes)]

    def draw(self, world: World) -> Iterator[Action]:
        """What is done before the next step."""
        if self._rng.random() < self._probability:
            yield "old_version", self._rng.randrange(self._nodes), self._rng.random() < 0.5
