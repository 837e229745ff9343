"""The Python client passes the conformance kit."""

from __future__ import annotations

import re

import pytest

from tests.conformance.case import BESIDES, EXPECTED, KIT, Case, action_of, cases
from tests.conformance.player import Player

CASES = cases()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_the_python_client_passes(case: Case) -> None:
    await Player(case).play()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_says_nothing_that_no_runner_reads(case: Case) -> None:
    assert case.about
    for step in case.steps:
        unknown = step.keys() - {action_of(step), *EXPECTED, *BESIDES}
        assert not unknown, step


async def test_the_case_that_the_readme_shows_is_one() -> None:
    (text,) = re.findall(r"```json\n(.*?)```", (KIT / "README.md").read_text(), re.DOTALL)
    await Player(Case.made("README.md", text)).play()
