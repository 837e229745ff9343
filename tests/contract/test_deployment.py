"""What ports/deployment.py promises, of every adapter."""

from __future__ import annotations

import pytest

from cecochat.domain.errors import CannotScale
from cecochat.ports.deployment import Deployment


async def test_what_is_scaled_to_is_counted(deployment: Deployment) -> None:
    await deployment.scale("messaging", 1, "a test")
    assert await deployment.count("messaging") == 1


@pytest.mark.parametrize("count", [-1, 1_000_000])
async def test_what_cannot_be_run_is_refused_and_changes_nothing(
    deployment: Deployment, count: int
) -> None:
    before = await deployment.count("history")
    with pytest.raises(CannotScale, match=str(count)):
        await deployment.scale("history", count, "a test")
    assert await deployment.count("history") == before
