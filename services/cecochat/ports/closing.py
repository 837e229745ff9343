"""Closes what an adapter has opened."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar


class Closable(Protocol):
    """What has to be closed."""

    async def close(self) -> None: ...


Opened = TypeVar("Opened", bound=Closable)


@asynccontextmanager
async def closing(opened: Opened) -> AsyncGenerator[Opened]:
    """Close it at the end: `contextlib.aclosing`, for what has `close`."""
    try:
        yield opened
    finally:
        await opened.close()
