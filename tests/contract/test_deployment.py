"""What ports/deployment.py promises, of every adapter."""

from __future__ import annotations

import pytest

from cecochat.domain.errors import CannotScale, Unavailable
from cecochat.ports.deployment import Deployment
from tests.support.eventually import eventually

MANY = 3
DEADLINE_S = 60


async def runs(deployment: Deployment, count: int) -> bool:
    """Whether so many servers run, and no others are wanted."""
    state = await deployment.state("messaging")
    running = [each for each in state.allocations if each.status == "running"]
    return len(running) == len(state.allocations) == count


async def scaled(deployment: Deployment, count: int) -> bool:
    """Nomad refuses while a deployment is under way."""
    try:
        await deployment.scale("messaging", count, "a test")
    except Unavailable:
        return False
    return True


async def test_as_many_run_as_are_wanted(deployment: Deployment) -> None:
    limits = (await deployment.state("messaging")).limits
    for count in (1, min(MANY, limits.max), 1):
        await eventually(lambda count=count: scaled(deployment, count), DEADLINE_S, 0.1)  # type: ignore[misc]
        assert (await deployment.state("messaging")).wanted == count
        await eventually(lambda count=count: runs(deployment, count), DEADLINE_S, 0.1)  # type: ignore[misc]
        ids = [each.id for each in (await deployment.state("messaging")).allocations]
        assert len(set(ids)) == count


@pytest.mark.parametrize("count", [-1, 1_000_000])
async def test_what_cannot_be_run_is_refused_and_changes_nothing(
    deployment: Deployment, count: int
) -> None:
    before = (await deployment.state("messaging")).wanted
    with pytest.raises(CannotScale, match=str(count)):
        await deployment.scale("messaging", count, "a test")
    assert (await deployment.state("messaging")).wanted == before
