"""Waiting for what has no event to wait for, such as another process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable


async def eventually(
    holds: Callable[[], object], within_s: float = 60.0, every_s: float = 0.01
) -> None:
    """Return once `holds()`, awaited where it can be, is true. Raises `AssertionError` with its
    last value.
    """
    deadline = time.monotonic() + within_s
    while not (value := await _value(holds())):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {holds!r} is {value!r}")
        await asyncio.sleep(every_s)


async def _value(of: object) -> object:
    return await of if isinstance(of, Awaitable) else of
