"""Tests that start what tests start, and never end: for `test_guard`, which ends them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from scripts.backends.launch import private
from tests.support.backends import Backends
from tests.support.server import Server, started

READY = "READY_FILE"
"""The variable that names the file which says that all is started."""


@pytest.mark.timeout(0)
async def test_that_never_ends(tmp_path: Path, backends: Backends) -> None:
    backends.provisioned("redis")
    with private("redis", tmp_path / "redis") as redis:
        await asyncio.to_thread(redis.start)  # of a thread that ends before the test does
        async with started(Server(tmp_path / "up")):
            ready = Path(os.environ[READY])
            await asyncio.to_thread(ready.write_text, os.environ.get("PYTEST_XDIST_WORKER", ""))
            await asyncio.Event().wait()
