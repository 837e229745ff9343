"""WebSockets byte by byte: what no library would send, and what a server answers."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
ANSWER_WITHIN_S = 30.0
CUT_OFF = 1006  # no close frame came
USUAL = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Protocol": "cecochat.v1",
}


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, bits: int = 0
) -> bytes:
    return header(opcode, len(payload), fin=fin, masked=masked, bits=bits) + (
        _masked(payload) if masked else payload
    )


def header(
    opcode: int, size: int, *, fin: bool = True, masked: bool = True, bits: int = 0
) -> bytes:
    """Of a frame of that size, which may never come."""
    first, second = (fin << 7) | bits | opcode, masked << 7
    mask = MASK if masked else b""
    if size < 126:
        return bytes([first, second | size]) + mask
    if size < 1 << 16:
        return struct.pack(">BBH", first, second | 126, size) + mask
    return struct.pack(">BBQ", first, second | 127, size) + mask


MASK = b"mask"


def _masked(payload: bytes) -> bytes:
    return bytes(byte ^ MASK[at % 4] for at, byte in enumerate(payload))


class Frame(NamedTuple):
    opcode: int
    payload: bytes


class Peer:
    """A client that has shaken hands, unless `status` says otherwise."""

    def __init__(
        self, status: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.status = status
        self._reader, self._writer = reader, writer

    async def say(self, *frames: bytes) -> None:
        """Where the server has hung up, its answer says why."""
        try:
            self._writer.write(b"".join(frames))
            await self._writer.drain()
        except ConnectionError:
            return

    async def read(self) -> Frame:
        """Raises `EOFError` or `ConnectionError` where nothing comes any more."""
        async with asyncio.timeout(ANSWER_WITHIN_S):
            first, size = await self._reader.readexactly(2)
            if size == 126:
                (size,) = struct.unpack(">H", await self._reader.readexactly(2))
            elif size == 127:
                (size,) = struct.unpack(">Q", await self._reader.readexactly(8))
            return Frame(first & 15, await self._reader.readexactly(size))

    async def ended(self) -> int:
        """Read to the end, and return the close code."""
        while True:
            try:
                opcode, payload = await self.read()
            except (EOFError, ConnectionError):
                return CUT_OFF
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big")


@asynccontextmanager
async def peer(url: str, **headers: str) -> AsyncIterator[Peer]:
    """`headers` replace the usual ones; an empty one is left out."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}" for name, value in ({**USUAL, **named}).items() if value]
    try:
        writer.write(
            "\r\n".join(
                [f"GET {parts.path} HTTP/1.1", f"Host: {parts.netloc}", *lines, "", ""]
            ).encode()
        )
        async with asyncio.timeout(ANSWER_WITHIN_S):
            answer = await reader.readuntil(b"\r\n\r\n")
        yield Peer(int(answer.split(b" ")[1]), reader, writer)
    finally:
        writer.transport.abort()
