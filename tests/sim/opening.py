"""How a schedule opens: what the history refuses, who owns what, who is there, and a group."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from tests.sim.shape import DEVICES

if TYPE_CHECKING:
    from tests.sim.spoiling import Action
    from tests.sim.world import World


def unfit(seed: int, weights: Mapping[str, float]) -> list[Action]:
    """With the probability `unfit`, or in one run of eight, what the history does not take; of a
    stream of its own, so that all else is drawn as it was.
    """
    rng = random.Random(f"{seed}-unfit")
    if rng.random() > weights.get("unfit", 1 / 8):
        return []
    return [("unfit", *(number for number in range(1, 200) if rng.random() < 0.15))]


def founding(seed: int, weights: Mapping[str, float]) -> list[Action]:
    """With the probability `found`, or in seven runs of eight, a group."""
    rng = random.Random(f"{seed}-founding")
    return [("found",)] if rng.random() < weights.get("found", 7 / 8) else []


def opening(rng: random.Random, world: World) -> Iterator[Action]:
    """Every partition is taken over, and most devices are there."""
    for node in range(world.shape.nodes):
        yield ("learn", node)
    for node, partition in list(world.servers):
        yield ("claim", node, partition)
    for name in list(world.producers):
        partition = world.producers[name].server.partition  # type: ignore[union-attr]
        yield ("land", name, partition)
        yield ("answer", name, partition)
        yield ("read", world.assignment[partition], partition, 1)
    for device in DEVICES:
        if rng.random() < 0.9:
            yield ("connect", device, world.assignment[world.place(device[0])])
            yield ("to_server", device, 0)
            yield ("to_device", device, 1000)
