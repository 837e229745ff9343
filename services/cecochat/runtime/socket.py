"""One WebSocket on the side of the server: whole messages come in, frames go out."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport
from typing_extensions import override

from cecochat.domain.errors import Refusal
from cecochat.domain.session.bucket import TokenBucket
from cecochat.domain.websocket import Liveness
from cecochat.runtime.flag import Flag
from cecochat.v1 import errors_pb2

UNREAD_BYTES: Final = 16 << 10
UNREAD_MESSAGES: Final = 64
"""How much may wait unread. With more, the socket is not read for a while."""
FRAGMENTS_MAX: Final = 64  # of one message
UNAUTHENTICATED_BYTES: Final = 16 << 10  # what may come before the token is known
CONTROL_PER_S, CONTROL_BURST = 5.0, 50  # pings and pongs
CLOSE_S: Final = 1.0
COPIED_BYTES: Final = 8_192
"""picows copies a frame up to this size. A larger one would follow a header in a buffer that the
next frame overwrites, which breaks it under uvloop (picows 2.3.1, ADR 0204).
"""
HEAD_BYTES: Final = 14


class Socket(WSListener):
    """A WebSocket that is served by one task. Nothing waits in it without a bound."""

    def __init__(
        self,
        message_max_bytes: int,
        begin: Callable[[Socket], asyncio.Task[None]],
        on_authenticated: Callable[[], object],
    ) -> None:
        """`begin` starts the task once the socket is open. `on_authenticated` is called once its
        client has shown a token.
        """
        self._message_max_bytes = message_max_bytes
        self._begin = begin
        self._on_authenticated = on_authenticated
        self._task: asyncio.Task[None] | None = None
        self._transport: WSTransport | None = None
        self._messages: deque[bytes] = deque()
        self._unread_bytes = 0
        self._fragments: list[bytes] = []
        self._wake = Flag()  # something has come, or nothing will any more
        self._writable = Flag(is_set=True)
        self._control = TokenBucket(CONTROL_BURST, time.monotonic())
        self._refusal: Refusal | None = None  # why nothing more is taken
        self._peer_left = False  # the client has sent its close frame, or is gone
        self._closing = False  # nothing that comes is of interest any more
        self._paused = False
        self._unauthenticated_left: int | None = UNAUTHENTICATED_BYTES
        self._liveness = Liveness()

    # -- the side of the server

    def authenticated(self) -> None:
        """Note that the client has shown a token."""
        self._unauthenticated_left = None
        self._on_authenticated()
        self._on_authenticated = _nothing

    async def read(self) -> bytes | None:
        """Return the next message, or None if the client has left. Raises `Refusal` if it has
        broken a rule.
        """
        while not self._messages:
            if self._refusal:
                raise self._refusal
            if self._peer_left:
                return None
            self._wake.clear()
            await self._wake.wait()
        message = self._messages.popleft()
        self._unread_bytes -= len(message)
        if self._paused and self._unread_bytes <= UNREAD_BYTES // 2:
            self._resume()
        return message

    async def write(self, message: bytes) -> None:
        """Send a message once the client has read enough of those before."""
        await self._writable.wait()
        transport = self._transport
        assert transport, "what is written to is open"
        if len(message) <= COPIED_BYTES:
            transport.send(WSMsgType.BINARY, message)
        else:
            framed = bytearray(HEAD_BYTES) + message
            transport.send_reuse_external_bytearray(WSMsgType.BINARY, framed, HEAD_BYTES)

    async def close(self, code: int, reason: str) -> None:
        """Say why, and give the client a moment to read it and to leave."""
        transport = self._transport
        assert transport, "what is closed was open"
        self._closing = True
        self._messages.clear()
        self._resume()
        if not transport.is_close_frame_sent:
            transport.send_close(code, reason)  # type: ignore[arg-type] # any number will do
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                while not self._peer_left:
                    self._wake.clear()
                    await self._wake.wait()
                transport.disconnect()
                await transport.wait_disconnected()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport:
            self._transport.disconnect(graceful=False)

    def beat(self) -> None:
        """Ask a silent client for a sign of life, and cut off one that does not answer. Call this
        every `BEAT_S`.
        """
        if self._paused:
            self._liveness.heard()
            return
        match self._liveness.beat():
            case "ping" if self._transport:
                self._transport.send_ping()
            case "dead":
                self.abort()

    # -- the side of picows

    @override
    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._task = self._begin(self)

    @override
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == WSMsgType.CLOSE:
            self._peer_leaves()
        elif self._closing or self._refusal:
            return
        elif frame.rsv1 or frame.rsv2 or frame.rsv3:
            self._refuse(_protocol("no extension was agreed on: clear RSV1 to RSV3"))
        elif kind == WSMsgType.PING:
            self._pong(transport, frame)
        elif kind == WSMsgType.PONG:
            self._count_control()
        elif kind == WSMsgType.TEXT:
            self._refuse(_protocol("this is text: send protobuf frames as binary messages"))
        else:
            self._take(kind == WSMsgType.CONTINUATION, frame)

    @override
    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._peer_leaves()
        self._writable.set()
        if self._task and not self._closing:
            self._task.cancel()
        self._task, self._on_authenticated = (
            None,
            _nothing,
        )  # which would hold this object in a cycle

    @override
    def pause_writing(self) -> None:
        self._writable.clear()

    @override
    def resume_writing(self) -> None:
        self._writable.set()

    def hear(self, nbytes: int) -> bool:
        """Note that bytes have come. Returns whether picows may have more: after a broken frame it
        has sent a close frame, and would go on to fill its buffer until it disconnects.
        """
        self._liveness.heard()
        if self._unauthenticated_left is not None:
            self._unauthenticated_left -= nbytes
            if self._unauthenticated_left < 0:
                self._refuse(
                    _too_large(
                        f"{UNAUTHENTICATED_BYTES} bytes came before a token: send a hello first"
                    )
                )
        transport = self._transport
        if transport is None or self._closing or not transport.is_close_frame_sent:
            return True
        sent = transport.close_handshake.sent
        too_large = sent is not None and sent.code == WSCloseCode.MESSAGE_TOO_BIG
        self._refuse((_too_large if too_large else _protocol)("this frame breaks RFC 6455"))
        return False

    # -- what comes

    def _take(self, continues: bool, frame: WSFrame) -> None:
        fragments = self._fragments
        if continues != bool(fragments):
            self._refuse(_protocol("a continuation without a message, or a message inside another"))
            return
        if frame.fin and not fragments:
            self._queue(frame.get_payload_as_bytes())
            return
        fragments.append(frame.get_payload_as_bytes())
        if len(fragments) > FRAGMENTS_MAX:
            self._refuse(_too_large(f"a message has over {FRAGMENTS_MAX} fragments: send fewer"))
        elif sum(map(len, fragments)) > self._message_max_bytes:
            self._refuse(
                _too_large(f"a message has over {self._message_max_bytes} bytes: split it")
            )
        elif frame.fin:
            self._queue(b"".join(fragments))
            fragments.clear()

    def _queue(self, message: bytes) -> None:
        self._messages.append(message)
        self._unread_bytes += len(message)
        self._wake.set()
        if self._unread_bytes > UNREAD_BYTES or len(self._messages) > UNREAD_MESSAGES:
            self._pause()

    def _pong(self, transport: WSTransport, frame: WSFrame) -> None:
        self._count_control()
        if self._writable.is_set() and not self._refusal:
            transport.send_pong(frame.get_payload_as_bytes())

    def _count_control(self) -> None:
        if self._control.take_or_wait_s(time.monotonic(), CONTROL_PER_S, CONTROL_BURST):
            message = f"over {CONTROL_PER_S:g} pings and pongs a second: send fewer"
            self._refuse(Refusal(errors_pb2.ERROR_CODE_RATE_LIMITED, message, 1_000))

    def _refuse(self, refusal: Refusal) -> None:
        """Take nothing more, and have `read` say why."""
        self._refusal = self._refusal or refusal
        self._messages.clear()
        self._unread_bytes = 0
        self._fragments.clear()
        self._wake.set()

    def _peer_leaves(self) -> None:
        self._peer_left = True
        self._wake.set()

    # -- backpressure

    def _pause(self) -> None:
        transport = self._underlying()
        if transport and not self._paused and not transport.is_closing():
            self._paused = True
            transport.pause_reading()

    def _resume(self) -> None:
        transport = self._underlying()
        if transport and self._paused and not transport.is_closing():
            self._paused = False
            transport.resume_reading()

    def _underlying(self) -> Any:
        return self._transport.underlying_transport if self._transport else None


def _nothing() -> None:
    pass


def _protocol(message: str) -> Refusal:
    return Refusal(errors_pb2.ERROR_CODE_PROTOCOL, message)


def _too_large(message: str) -> Refusal:
    return Refusal(errors_pb2.ERROR_CODE_TOO_LARGE, message)
