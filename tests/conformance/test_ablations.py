"""Each rule of a client is held by the kit: a client that lacks it fails, and no case is idle."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import ExitStack
from unittest.mock import patch

import pytest

from tests.conformance.ablations import ABLATIONS
from tests.conformance.case import KIT, cases
from tests.conformance.player import Player

RULES = json.loads((KIT / "rules.json").read_text())
BY_HAND = [case for case in cases() if not case.name.startswith("generated/")]


@pytest.fixture(scope="module")
def failing() -> Mapping[str, set[str]]:
    """For each rule, the cases that fail without it."""
    return {name: _without(name) for name in ABLATIONS}


def _without(name: str) -> set[str]:
    with ExitStack() as stack:
        for override in ABLATIONS[name]:
            stack.enter_context(patch.object(*override))
        return asyncio.run(_fails())


async def _fails() -> set[str]:
    found = set()
    for case in BY_HAND:
        try:
            await Player(case).play()
        except* AssertionError:
            found.add(case.name)
    return found


def test_every_rule_has_an_ablation() -> None:
    assert [rule["name"] for rule in RULES] == list(ABLATIONS)
    named = {str(rule["rule"]) for rule in RULES}
    assert named == {str(case.rule) for case in BY_HAND}
    assert named >= {str(number) for number in range(1, 12)}, "docs/reference/protocol.md has 11"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["name"])
def test_a_client_without_this_rule_fails(
    rule: dict[str, str], failing: Mapping[str, set[str]]
) -> None:
    assert rule["case"] in failing[rule["name"]]


def test_every_case_fails_without_some_rule(failing: Mapping[str, set[str]]) -> None:
    """Some rules are needed for nearly every case, so those do not count."""
    special = [found for found in failing.values() if len(found) < len(BY_HAND) / 2]
    assert {case.name for case in BY_HAND} - set().union(*special) == set()
