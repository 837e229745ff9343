"""A network that can be cut: what clients reach at 127.0.0.2 is a server at 127.0.0.1.

Ports are the same on both sides, so a server need only advertise the other address. A browser that
is told to be offline keeps the WebSockets it has; this network does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress

NEAR = "127.0.0.2"
"""What clients are told."""
FAR = "127.0.0.1"
CHUNK_BYTES = 64 << 10


class Network:
    """One listener for each port, and a pair of connections for each that a client opens."""

    def __init__(self, ports: Iterable[int]) -> None:
        self._ports = tuple(ports)
        self._listeners: list[asyncio.Server] = []
        self._writers: set[asyncio.StreamWriter] = set()

    async def mend(self) -> None:
        """Let connections through."""
        for port in self._ports:

            async def carry(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int = port
            ) -> None:
                await self._carry(reader, writer, port)

            self._listeners.append(await asyncio.start_server(carry, NEAR, port))

    def cut(self) -> None:
        """Reset all connections, and refuse new ones."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int
    ) -> None:
        try:
            there, thither = await asyncio.open_connection(FAR, port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, thither}
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(reader, thither))
                group.create_task(_copy(there, writer))
        finally:
            self._writers -= {writer, thither}
            writer.transport.abort()
            thither.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end of either side."""
    with suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def network(ports: Iterable[int]) -> AsyncIterator[Network]:
    """A network that is whole, until the end of the block."""
    made = Network(ports)
    await made.mend()
    try:
        yield made
    finally:
        made.cut()
