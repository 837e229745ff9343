"""Streams over WebSocket, by picows: `pip install cecochat[websocket]`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, cast

from google.protobuf.message import DecodeError
from picows import (
    WSError,
    WSFrame,
    WSInvalidStatusError,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
)
from typing_extensions import override

from cecochat.client.errors import ChatError, NotReachable, Refused, name_of
from cecochat.client.lookup import Lookup, Route
from cecochat.client.transport.base import Call, StreamEnded, Transport
from cecochat.domain.device.device import Disconnected
from cecochat.domain.websocket import (
    BEAT_S,
    LEFT,
    PROTOCOL,
    Liveness,
    error_number,
    says_reconnect,
)
from cecochat.v1.errors_pb2 import ErrorCode
from cecochat.v1.messaging_pb2 import ClientFrame, ServerFrame

FRAME_MAX_BYTES: Final = 1 << 20
HANDSHAKE_S: Final = 10.0
UNREAD_BYTES: Final = 1 << 20
"""How much may wait unread. An application that stops reading also stops the answers to the
server's pings.
"""


class WebSocketCall(Call, WSListener):
    """One WebSocket."""

    def __init__(self, address: str, token: str) -> None:
        self._address = address
        self._token = token
        self._transport: WSTransport | None = None
        self._frames: deque[bytes] = deque()
        self._unread_bytes = 0
        self._wake = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._code = 0  # of the server's close frame
        self._fault = ""  # what the server did wrong
        self._gone = False
        self._paused = False
        self._liveness = Liveness()
        self._loop = asyncio.get_running_loop()
        self._beating: asyncio.TimerHandle | None = None

    # -- the side of the client

    @property
    def is_open(self) -> bool:
        """Whether the handshake is done."""
        return self._transport is not None

    @override
    async def begin(self, hello: ClientFrame) -> None:
        hello.hello.token = self._token
        await self.write(hello)

    @override
    async def write(self, frame: ClientFrame) -> None:
        await self._writable.wait()
        if self._gone or self._transport is None:
            raise StreamEnded
        self._transport.send(WSMsgType.BINARY, frame.SerializeToString())

    @override
    async def read(self) -> ServerFrame | None:
        while not self._frames:
            if self._gone:
                if error := self._error():
                    raise error
                return None
            self._wake.clear()
            await self._wake.wait()
        frame = self._frames.popleft()
        self._unread_bytes -= len(frame)
        if self._paused and self._unread_bytes <= UNREAD_BYTES // 2:
            self._pause(False)
        try:
            return ServerFrame.FromString(frame)
        except DecodeError:
            raise NotReachable(f"what answers at {self._address} is no messaging server") from None

    def _error(self) -> ChatError | None:
        """Return why the server ended the stream, if all that is known of it is a close code."""
        if self._fault and not error_number(self._code):
            return _ended(self._address, self._fault)
        return closed_by(self._code, self._address)

    def _beat(self) -> None:
        """Every five seconds, find out if the server is gone."""
        if self._paused:
            self._liveness.heard()
        found = self._liveness.beat()
        if found == "dead":
            self._fault = "it is silent"
            self.disconnect()
            return
        if found == "ping" and self._transport:
            self._transport.send_ping()
        self._beating = self._loop.call_later(BEAT_S, self._beat)

    def leave(self) -> None:
        """Say goodbye and disconnect."""
        if self._transport and not self._gone:
            self._transport.send_close(LEFT, "")  # type: ignore[arg-type]
            self._transport.disconnect()

    def disconnect(self) -> None:
        """End the connection at once."""
        if self._transport:
            self._transport.disconnect(graceful=False)

    # -- the side of picows

    @override
    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._beating = self._loop.call_later(BEAT_S, self._beat)

    @override
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self._liveness.heard()
        if frame.msg_type == WSMsgType.BINARY and frame.fin:
            self._take(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            self._code = int.from_bytes(frame.get_payload_as_bytes()[:2], "big")
            transport.send_close(LEFT, "")  # type: ignore[arg-type]
            transport.disconnect()
        elif frame.msg_type != WSMsgType.PONG:
            self._fault = f"it sent {frame}"
            self.disconnect()

    def _take(self, frame: bytes) -> None:
        self._frames.append(frame)
        self._unread_bytes += len(frame)
        self._wake.set()
        if self._unread_bytes > UNREAD_BYTES and not self._paused:
            self._pause(True)

    def _pause(self, paused: bool) -> None:
        underlying: Any = self._transport and self._transport.underlying_transport
        if underlying and not underlying.is_closing():
            self._paused = paused
            (underlying.pause_reading if paused else underlying.resume_reading)()

    @override
    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._gone = True
        if self._beating:
            self._beating.cancel()
        self._wake.set()
        self._writable.set()

    @override
    def pause_writing(self) -> None:
        self._writable.clear()

    @override
    def resume_writing(self) -> None:
        self._writable.set()


class WebSocketTransport(Transport):
    """Opens a WebSocket for each stream."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup

    @override
    def address(self, route: Route) -> str:
        if not route.websocket:
            raise NotReachable(
                f"{route.server_id} answers no WebSockets: use the transport grpc, or upgrade it"
            )
        return route.websocket

    @override
    def moved(self, route: Route, to: Disconnected) -> Route | None:
        return replace(route, websocket=to.websocket) if to.websocket else None

    @override
    @asynccontextmanager
    async def open(self, address: str, token: str) -> AsyncIterator[Call]:
        call = WebSocketCall(address, token)
        await self._connect(call, address)
        try:
            yield call
        finally:
            call.leave()

    async def _connect(self, call: WebSocketCall, address: str) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                await ws_connect(
                    lambda: call,
                    address,
                    ssl_context=self._lookup.ssl_context,
                    websocket_handshake_timeout=None,
                    max_frame_size=FRAME_MAX_BYTES,
                    max_redirects=0,
                    extra_headers={"Sec-WebSocket-Protocol": PROTOCOL},
                    use_aiofastnet=False,
                )
        except WSInvalidStatusError as error:
            raise NotReachable(
                f"{address} refused the WebSocket ({error}): is it a messaging server, or an edge "
                "that leads to one?"
            ) from None
        except (OSError, ValueError, WSError) as error:
            raise NotReachable(
                f"the messaging server at {address} does not answer "
                f"({type(error).__name__}: {error})"
            ) from None
        if not call.is_open:  # picows does not call this an error
            raise NotReachable(f"the messaging server at {address} hung up in the handshake")


def closed_by(code: int, address: str) -> ChatError | None:
    """Return what the close code of a server says; None if it says nothing. 0 stands for none."""
    if number := error_number(code):
        name = name_of(cast(ErrorCode.ValueType, number))
        message = f"the messaging server at {address} has closed the stream: {name}"
        return Refused(name, message, retriable=says_reconnect(code))
    return None if code in (0, LEFT) else _ended(address, f"close code {code}")


def _ended(address: str, why: str) -> NotReachable:
    return NotReachable(f"the messaging server at {address} ended the stream ({why})")
