"""Every rule is needed: without it a promise breaks, and with it the same seed breaks none."""

from __future__ import annotations

from itertools import chain

import pytest

from tests.sim.ablations import ABLATIONS, Ablation

SEARCHED = 600  # where the seed on record fails no more, because schedules are drawn otherwise now


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda ablation: ablation.name)
def test_without_this_rule_a_promise_breaks(ablation: Ablation) -> None:
    failing = next(
        (seed for seed in chain([ablation.seed], range(SEARCHED)) if _breaks(ablation, seed)), None
    )
    assert failing is not None, f"{SEARCHED} seeds break nothing without: {ablation.name}"
    assert not ablation.control(failing).broken


def _breaks(ablation: Ablation, seed: int) -> bool:
    return bool(ablation.run(seed).kinds & ablation.expected)
