"""docs/tutorials/cluster.md, as it stands."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.cluster.conftest import whole
from tests.cluster.guests import LXC, ROOT, Guest
from tests.support import examples

PAGE = ROOT / "docs" / "tutorials" / "cluster.md"
WITHIN_S = 1_500.0


@pytest.mark.timeout(WITHIN_S + 600)
async def test_the_tutorial_works(guests: list[Guest], tmp_path: Path) -> None:
    environment = dict(os.environ) | LXC
    try:
        await asyncio.to_thread(
            examples.run, PAGE.read_text(), tmp_path, environment, WITHIN_S, ROOT
        )
    finally:
        await asyncio.to_thread(guests[2].up)
        guests[0].run("cecochat", "config", "set", "scale.messaging.min", "3")
        await whole(guests)
