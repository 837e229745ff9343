"""When a rare fault happens. Each kind is drawn from a stream of its own, so that the other faults
of a seed stay as they are.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence


class Moments:
    """With the probability that `weights` give the action `kind`, after each step. Without weights,
    in one run of eight, as often as one of `often`.
    """

    def __init__(
        self,
        rng: random.Random,
        kind: str,
        often: Sequence[int],
        steps: int,
        weights: Mapping[str, float] | None,
    ) -> None:
        self._rng = rng
        times = rng.choice(often) if rng.random() < 1 / 8 else 0
        self._probability = (weights or {}).get(kind, 0.0)
        self._at = set(rng.sample(range(steps), times)) if weights is None else set()
        self._step = 0

    def come(self) -> bool:
        """Whether it happens after this step. Call this once a step."""
        self._step += 1
        return self._rng.random() < self._probability or self._step in self._at
