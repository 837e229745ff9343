"""The steps of a server from its start to its end, as contexts.

They are left in the opposite order: a server says that it is not ready, deregisters, drains, and
ends its tasks. After an error, it only ends its tasks: discovery notices by its health check.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from cecochat.ports.discovery import Discovery, Instance


@asynccontextmanager
async def running(*tasks: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run tasks during the block. An error in one of them ends the others and the block."""
    async with asyncio.TaskGroup() as group:
        started = [group.create_task(task) for task in tasks]
        yield
        for task in started:
            task.cancel()


@asynccontextmanager
async def drained(drain: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Drain after the block, so that what is under way is finished before the tasks end."""
    yield
    await drain()


@asynccontextmanager
async def registered(discovery: Discovery, server: Instance) -> AsyncIterator[None]:
    """Have others know about a server during the block."""
    await discovery.register(server)
    yield
    await discovery.deregister(server)


def check_cancelled() -> None:
    """Raise CancelledError if this task is being cancelled. Before Python 3.13, a failure at the
    same time hides the cancellation.
    """
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError
