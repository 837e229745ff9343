"""Failing schedules, made shorter."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tests.sim.schedule import Run
from tests.sim.spoiling import Action


def shrink(
    run: Run, kind: str, again: Callable[[Sequence[Action]], Run], budget_s: float = 20
) -> Run:
    """A shorter schedule that still breaks that promise: what can be left out is left out."""
    deadline = time.monotonic() + budget_s
    size = max(1, len(run.actions) // 2)
    while time.monotonic() < deadline:
        before = len(run.actions)
        run = _without_chunks(run, kind, size, again, deadline)
        if size == 1 and len(run.actions) == before:
            break
        size = max(1, size // 2)
    return run


def _without_chunks(
    run: Run, kind: str, size: int, again: Callable[[Sequence[Action]], Run], deadline: float
) -> Run:
    start = 0
    while start < len(run.actions) and time.monotonic() < deadline:
        trial = again(run.actions[:start] + run.actions[start + size :])
        if kind in trial.kinds:
            run = trial
        else:
            start += size
    return run
