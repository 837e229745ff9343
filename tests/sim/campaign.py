"""Many seeds over all cores."""

from __future__ import annotations

import os
from collections import Counter
from functools import partial
from multiprocessing import get_context
from typing import NamedTuple

from tests.sim.oracle import Broken
from tests.sim.schedule import random_run
from tests.sim.shape import Shape


class Found(NamedTuple):
    """What a campaign found: how many seeds break each kind of promise, and an example of each as
    (seed, detail).
    """

    failed: int
    kinds: Counter[str]
    examples: dict[str, tuple[int, str]]


def campaign(first: int, seeds: int, steps: int, shape: Shape) -> Found:
    """Run the seeds from `first` on."""
    found = Found(0, Counter(), {})
    with get_context("spawn").Pool(os.cpu_count()) as pool:
        work = partial(_one, steps=steps, shape=shape)
        for seed, broken in pool.imap(work, range(first, first + seeds), chunksize=50):
            found = found._replace(failed=found.failed + bool(broken))
            for kind, detail in {each.kind: each.detail for each in broken}.items():
                found.kinds[kind] += 1
                found.examples.setdefault(kind, (seed, detail))
    return found


def _one(seed: int, steps: int, shape: Shape) -> tuple[int, list[Broken]]:
    return seed, random_run(seed, steps, shape).broken
