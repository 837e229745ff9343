"""Drops what is old and needed no more from a log, now and then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from cecochat.domain.errors import Unavailable
from cecochat.ports.backplane import Backplane

log = logging.getLogger(__name__)


@asynccontextmanager
async def trimming(backplane: Backplane, every_s: float) -> AsyncGenerator[None]:
    """Trim the log every `every_s` during the block. A defect in it cancels the block."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(_trim(backplane, every_s))
        yield
        task.cancel()


async def _trim(backplane: Backplane, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await backplane.trim()
        except Unavailable as error:
            log.warning("what is old and needed no more is not dropped: %s", error)
