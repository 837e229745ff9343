"""Streams of messages that cost the generator little: HTTP/2 and WebSocket frames by hand.

A generator that needs more CPU than the server gives it nothing to do, and so a server that wakes
up for each message alone. gRPC's own client takes 0.25 ms for a message, this about a fifth.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from typing_extensions import override

from tests.hostile.http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    SETTINGS,
    call,
    frame,
    literal,
)
from tests.support.pipes import CHAT, SUBPROTOCOL

RST_STREAM, WINDOW_UPDATE, ACK = 3, 8, 1
INITIAL_WINDOW, WINDOW, WIDEST = 4, 65_535, (1 << 31) - 1
FRAME_MAX_BYTES = 16_384
BINARY, CLOSE, PINGED, PONG, SHORT, LONG = 2, 8, 9, 10, 126, 127


class Broken(Exception):
    """The server ended a session, or refused a send: the measurement is void."""


class Stream(asyncio.Protocol):
    """Messages of bytes, both ways. What comes goes to `take`; `lost` fails when it is over."""

    def __init__(self, token: str, path: str) -> None:
        self.take: Callable[[bytes], None] = lambda _: None
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._token, self._path = token.encode(), path.encode()
        self._came = bytearray()

    def write(self, message: bytes) -> None:
        raise NotImplementedError

    def begin(self) -> bytes:
        """Return what a client says first."""
        raise NotImplementedError

    def parse(self) -> None:
        """Take what is whole out of `_came`."""
        raise NotImplementedError

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by its class
        self._transport.write(self.begin())

    @override
    def data_received(self, data: bytes) -> None:
        self._came += data
        try:
            self.parse()
        except Broken as broken:
            self.end(str(broken))

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.end(f"the connection is lost: {exc}")

    def end(self, why: str) -> None:
        if not self.lost.done():
            self.lost.set_exception(Broken(why))
            self.lost.exception()  # whoever runs a pair asks for it; others need no warning
        self._transport.abort()

    def close(self) -> None:
        self.lost.cancel()
        self._transport.abort()


class GrpcStream(Stream):
    """One call on a connection of its own. The server may send 2 GiB without an update."""

    def __init__(self, token: str, path: str) -> None:
        super().__init__(token, path)
        self._messages = bytearray()
        self._windows = {0: WINDOW, 1: WINDOW}  # of the connection, and of the one stream
        self._initial = WINDOW
        self._waiting: deque[bytes] = deque()

    @override
    def begin(self) -> bytes:
        headers = call(CHAT) + literal(b"authorization", b"Bearer " + self._token)
        wide = INITIAL_WINDOW.to_bytes(2, "big") + WIDEST.to_bytes(4, "big")
        more = (WIDEST - WINDOW).to_bytes(4, "big")
        return (
            PREFACE
            + frame(SETTINGS, wide)
            + frame(WINDOW_UPDATE, more)
            + frame(HEADERS, headers, 1, END_HEADERS)
        )

    @override
    def write(self, message: bytes) -> None:
        whole = b"\0" + len(message).to_bytes(4, "big") + message
        for start in range(0, len(whole), FRAME_MAX_BYTES):
            self._waiting.append(whole[start : start + FRAME_MAX_BYTES])
        self._flush()

    def _flush(self) -> None:
        while self._waiting and len(self._waiting[0]) <= min(self._windows.values()):
            data = self._waiting.popleft()
            for stream in self._windows:
                self._windows[stream] -= len(data)
            self._transport.write(frame(DATA, data, 1))

    @override
    def parse(self) -> None:
        came, at = self._came, 0
        while len(came) - at >= 9:
            end = at + 9 + int.from_bytes(came[at : at + 3], "big")
            if len(came) < end:
                break
            stream = int.from_bytes(came[at + 5 : at + 9], "big")
            self._frame(came[at + 3], came[at + 4], stream, bytes(came[at + 9 : end]))
            at = end
        del came[:at]

    def _frame(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind == DATA:
            self._messages += body
            self._take_messages()
        elif kind == WINDOW_UPDATE:
            self._windows[stream] += int.from_bytes(body, "big")
            self._flush()
        elif kind == SETTINGS and not flags & ACK:
            self._settings(body)
        elif kind == PING and not flags & ACK:
            self._transport.write(frame(PING, body, flags=ACK))
        elif kind in (RST_STREAM, GOAWAY) or (kind == HEADERS and flags & END_STREAM):
            raise Broken(f"the server ended the stream: {body!r}")

    def _settings(self, body: bytes) -> None:
        for at in range(0, len(body), 6):
            value = int.from_bytes(body[at + 2 : at + 6], "big")
            if int.from_bytes(body[at : at + 2], "big") == INITIAL_WINDOW:
                self._windows[1] += value - self._initial
                self._initial = value
        self._transport.write(frame(SETTINGS, flags=ACK))
        self._flush()

    def _take_messages(self) -> None:
        while len(self._messages) >= 5:
            end = 5 + int.from_bytes(self._messages[1:5], "big")
            if len(self._messages) < end:
                return
            message = bytes(self._messages[5:end])
            del self._messages[:end]
            self.take(message)


class WebSocketStream(Stream):
    """Binary messages (RFC 6455). The mask is 0, which is one too, and leaves them as they are."""

    def __init__(self, token: str, path: str) -> None:
        super().__init__(token, path)
        self._open = False
        self._waiting: list[bytes] = []

    @override
    def begin(self) -> bytes:
        return (
            b"GET %b HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n"
            b"Sec-WebSocket-Protocol: %b\r\n\r\n"
        ) % (self._path, base64.b64encode(bytes(16)), SUBPROTOCOL.encode())

    @override
    def write(self, message: bytes) -> None:
        self._waiting.append(_masked(BINARY, message))
        self._flush()

    def _flush(self) -> None:
        if self._open:
            self._transport.write(b"".join(self._waiting))
            self._waiting.clear()

    @override
    def parse(self) -> None:
        if not self._open and not self._opened():
            return
        came, at = self._came, 0
        while (size := _whole(came, at)) is not None:
            start, end = size
            kind, message = came[at] & 0xF, bytes(came[start:end])
            at = end
            if kind == CLOSE:
                raise Broken(f"the server ended the stream: {message!r}")
            if kind == PINGED:
                self._transport.write(_masked(PONG, message))
            if kind == BINARY:
                self.take(message)
        del came[:at]

    def _opened(self) -> bool:
        head, found, rest = bytes(self._came).partition(b"\r\n\r\n")
        if not found:
            return False
        if not head.startswith(b"HTTP/1.1 101"):
            raise Broken(head.decode())
        self._came[:] = rest
        self._open = True
        self._flush()
        return True


def _masked(kind: int, message: bytes) -> bytes:
    size = len(message)
    if size < SHORT:
        head = bytes([0x80 | kind, 0x80 | size])
    elif size < 1 << 16:
        head = bytes([0x80 | kind, 0x80 | SHORT]) + size.to_bytes(2, "big")
    else:
        head = bytes([0x80 | kind, 0x80 | LONG]) + size.to_bytes(8, "big")
    return head + bytes(4) + message


def _whole(came: bytearray, at: int) -> tuple[int, int] | None:
    """Where the content of the frame at that place begins and ends, if all of it is there."""
    if len(came) < at + 2:
        return None
    size, more = came[at + 1], {SHORT: 2, LONG: 8}.get(came[at + 1], 0)
    start = at + 2 + more
    if len(came) < start:
        return None
    end = start + (int.from_bytes(came[at + 2 : start], "big") if more else size)
    return (start, end) if len(came) >= end else None


STREAMS: dict[str, type[Stream]] = {"grpc": GrpcStream, "websocket": WebSocketStream}


async def open_stream(kind: str, address: str, token: str, ca_file: Path | None = None) -> Stream:
    """Connect to `host:port` or a URL, over TLS where it says whom to trust."""
    target = urlsplit(address if "//" in address else f"//{address}")
    trust = ssl.create_default_context(cafile=ca_file) if ca_file else None
    if trust and kind == "grpc":
        trust.set_alpn_protocols(["h2"])
    loop = asyncio.get_running_loop()
    _, stream = await loop.create_connection(
        lambda: STREAMS[kind](token, target.path or "/"),
        target.hostname or "",
        target.port or 0,
        ssl=trust,
    )
    return stream
