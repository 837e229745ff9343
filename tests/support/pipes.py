"""What carries the frames of a raw client: gRPC, or a WebSocket by another library than ours."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from socket import SO_RCVBUF, SOL_SOCKET
from typing import Literal, get_args

import grpc
from typing_extensions import override
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from cecochat.v1 import errors_pb2
from cecochat.v1.messaging_pb2 import ClientFrame, ServerFrame

CHAT = "/cecochat.v1.Messaging/Chat"
ERROR_TRAILER = "cecochat-error-bin"
CONNECTION_OF_ITS_OWN = (
    ("grpc.use_local_subchannel_pool", 1),  # else channels to one address share a TCP connection
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.keepalive_time_ms", 30_000),
)
SUBPROTOCOL = Subprotocol("cecochat.v1")
ABNORMAL = 1006  # no close frame came
Options = tuple[tuple[str, int], ...]
TransportName = Literal["grpc", "websocket"]
TRANSPORTS: tuple[TransportName, ...] = get_args(TransportName)


def _serialized(frame: ClientFrame | bytes) -> bytes:
    return frame if isinstance(frame, bytes) else frame.SerializeToString()


class PipeClosed(Exception):
    """Nothing comes any more; `error` is the reason, if the transport itself tells one."""

    def __init__(self, detail: str, error: errors_pb2.Error | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.error = error


class Pipe(ABC):
    """One stream. Each method but `close` raises `PipeClosed`."""

    @abstractmethod
    async def write(self, frame: ClientFrame | bytes) -> None: ...

    @abstractmethod
    async def read(self) -> ServerFrame: ...

    @abstractmethod
    async def close(self) -> None: ...


class GrpcPipe(Pipe):
    """A stream on a channel that others may share, or, `to` an address, on one of its own."""

    def __init__(self, to: str | grpc.aio.Channel, token: str, options: Options = ()) -> None:
        self._own: grpc.aio.Channel | None = None
        if isinstance(to, str):
            self._own = to = grpc.aio.insecure_channel(
                to, options=(*CONNECTION_OF_ITS_OWN, *options)
            )
        method = to.stream_stream(
            CHAT,
            request_serializer=_serialized,
            response_deserializer=ServerFrame.FromString,
        )
        self._call = method(metadata=(("authorization", f"Bearer {token}"),))

    @override
    async def write(self, frame: ClientFrame | bytes) -> None:
        try:
            await self._call.write(frame)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise PipeClosed(repr(error)) from error

    @override
    async def read(self) -> ServerFrame:
        try:
            frame = await self._call.read()
        except grpc.aio.AioRpcError as error:
            detail = f"{error.code().name}: {error.details()}"
            raise PipeClosed(detail, typed_error(error)) from error
        if not isinstance(frame, ServerFrame):
            raise PipeClosed("end of the stream")
        return frame

    @override
    async def close(self) -> None:
        self._call.cancel()
        if self._own:
            await self._own.close()


def typed_error(error: grpc.aio.AioRpcError) -> errors_pb2.Error | None:
    for name, value in error.trailing_metadata() or ():
        if name == ERROR_TRAILER and isinstance(value, bytes):
            return errors_pb2.Error.FromString(value)
    return None


class WebSocketPipe(Pipe):
    """The first frame has the token."""

    def __init__(self, socket: ClientConnection, token: str) -> None:
        self._socket = socket
        self._token = token

    @classmethod
    async def open(cls, url: str, token: str, receive_bytes: int = 0) -> WebSocketPipe:
        """`receive_bytes`: of the kernel's buffer; 0: as it likes. Raises `PipeClosed`."""
        try:
            socket = await connect(
                url, subprotocols=[SUBPROTOCOL], compression=None, max_size=None, proxy=None,
                ping_interval=None,
            )  # fmt: skip
            if receive_bytes:
                own = socket.transport.get_extra_info("socket")
                own.setsockopt(SOL_SOCKET, SO_RCVBUF, receive_bytes)
        except (OSError, InvalidHandshake, EOFError) as error:
            raise PipeClosed(repr(error)) from error
        return cls(socket, token)

    @override
    async def write(self, frame: ClientFrame | bytes) -> None:
        if isinstance(frame, ClientFrame) and frame.HasField("hello"):
            frame.hello.token = self._token
        try:
            await self._socket.send(_serialized(frame))
        except ConnectionClosed as closed:
            raise PipeClosed(repr(closed)) from closed

    @override
    async def read(self) -> ServerFrame:
        try:
            message = await self._socket.recv(decode=False)
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else ABNORMAL
            raise PipeClosed(f"close code {code}") from closed
        return ServerFrame.FromString(message)

    @override
    async def close(self) -> None:
        self._socket.transport.abort()
        await self._socket.wait_closed()
