"""What every server does from its start to its end, as contexts, which are left in the opposite
order: it says that it is not ready, is known no longer, drains, and ends its tasks.

Where one is left by an error, only the tasks are ended. Who dies is missed by its health check.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from cecochat.ports.discovery import Discovery, Instance


@asynccontextmanager
async def running(*tasks: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """They run until the context is left; an error of one ends the others."""
    async with asyncio.TaskGroup() as group:
        started = [group.create_task(task) for task in tasks]
        yield
        for task in started:
            task.cancel()


@asynccontextmanager
async def drained(drain: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """What is under way is finished before the tasks end."""
    yield
    await drain()


@asynccontextmanager
async def registered(discovery: Discovery, known: Instance) -> AsyncIterator[None]:
    """Others know of it."""
    await discovery.register(known)
    yield
    await discovery.deregister(known)
