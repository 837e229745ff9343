"""A rule taken away: methods of the project's classes, or of the shells, overridden for the length
of a run.

What breaks then is what the rule is for. The code under test has no switch for any of this.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from tests.sim.schedule import DEFAULT, STEPS, Run, Weights, random_run
from tests.sim.shape import Shape

HAND_OVERS = {"pause": 4, "resume": 2, "assign": 4, "learn": 3, "land": 0.5, "send": 1.5}
Override = tuple[Any, str, object]  # class or module, name, what it is replaced by


@dataclass(frozen=True)
class Ablation:
    """One rule less. `weights` make more of what it takes, `seed` is one that is known to fail."""

    name: str
    overrides: tuple[Override, ...]
    expected: frozenset[str]
    seed: int
    weights: Weights
    shape: Shape = DEFAULT

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Without the rule, inside this context."""
        with ExitStack() as stack:
            for where, name, replacement in self.overrides:
                stack.enter_context(patch.object(where, name, replacement))
            yield

    def run(self, seed: int) -> Run:
        """A seed without the rule."""
        with self.applied():
            return random_run(seed, STEPS, self.shape, self.weights)

    def control(self, seed: int) -> Run:
        """The same seed with all rules."""
        return random_run(seed, STEPS, self.shape, self.weights)


def survey(ablation: Ablation, seeds: int) -> str:
    """How often it fails, and how."""
    kinds: Counter[str] = Counter()
    failing = []
    for seed in range(seeds):
        found = ablation.run(seed).kinds
        kinds.update(found)
        if found & ablation.expected:
            failing.append(seed)
    return f"{ablation.name}: {len(failing)} of {seeds} {failing[:8]} {dict(kinds.most_common())}"


def ablation(
    name: str,
    *overrides: Override,
    expect: frozenset[str],
    seed: int,
    weights: Weights | None = None,
    shape: Shape = DEFAULT,
) -> Ablation:
    return Ablation(name, overrides, expect, seed, weights or {}, shape)
