"""Connections to an HTTP port that say little or nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

TRICKLING = 1_100  # more than a process has descriptors for, unless it asks for them
EVERY_S = 2.0


class Trickling:
    """One connection that never ends its request."""

    def __init__(self) -> None:
        self.ended_after_s: float | None = None

    async def run(self, host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        begun_s = time.monotonic()
        listening = asyncio.create_task(_to_the_end(reader))
        with suppress(ConnectionError):
            writer.write(b"GET /v1/connect HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            while not listening.done():
                writer.write(b"x")
                await writer.drain()
                await asyncio.wait([listening], timeout=EVERY_S)
        self.ended_after_s = time.monotonic() - begun_s
        writer.close()


async def _to_the_end(reader: asyncio.StreamReader) -> None:
    with suppress(ConnectionError):
        await reader.read()


@asynccontextmanager
async def idle(host: str, port: int, count: int) -> AsyncIterator[None]:
    """So many connections that say nothing."""
    opened = [await asyncio.open_connection(host, port) for _ in range(count)]
    try:
        yield
    finally:
        for _, writer in opened:
            writer.close()
