"""Every rule is needed: without it a promise breaks, and with it the same seed breaks none."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest

from tests.sim.ablation import Ablation
from tests.sim.ablations import ABLATIONS

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


def test_the_table_of_rules_has_them_all() -> None:
    page = (Path(__file__).parents[2] / "docs/explanation/rules.md").read_text()
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in page.splitlines()]
    said = [(row[0], row[1], row[3]) for row in rows if len(row) == 4][2:]
    assert said == [
        (each.name, "; ".join(sorted(each.expected)), str(each.seed)) for each in ABLATIONS
    ]
