"""docs/tutorials/cluster.md, as it stands."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

from tests.cluster.conftest import whole
from tests.cluster.guests import LXC, ROOT, Guest
from tests.support import examples, guard
from tests.support.eventually import eventually

PAGE = ROOT / "docs" / "tutorials" / "cluster.md"
WITHIN_S = 1_500.0


@pytest.mark.timeout(WITHIN_S + 600)
async def test_the_tutorial_works(guests: list[Guest], tmp_path: Path) -> None:
    environment = guard.unmarked() | LXC
    try:
        await asyncio.to_thread(
            examples.run, PAGE.read_text(), tmp_path, environment, WITHIN_S, ROOT
        )
    finally:
        await asyncio.to_thread(guests[2].up)
        guests[0].run("cecochat", "config", "set", "scale.messaging.min", "3")
        await eventually(partial(_has_shrunk, guests[0]), within_s=900, every_s=5)
        await whole(guests)


async def _has_shrunk(guest: Guest) -> bool:
    servers = (await asyncio.to_thread(guest.status)).get("servers", {})
    return len(servers.get("messaging", ())) == 3
