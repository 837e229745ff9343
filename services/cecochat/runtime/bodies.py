"""Bodies of HTTP requests: they are read up to a limit, and kept only while somebody wants them."""

from __future__ import annotations

import asyncio
from typing import Any

from sanic import Request
from sanic.exceptions import BadRequest
from sanic.http import Http
from sanic.server.protocols.http_protocol import HttpProtocol
from typing_extensions import override

from cecochat.domain.errors import Invalid, Refusal
from cecochat.v1 import errors_pb2

LINGER_S = 2.0
"""How long a client that still sends may take to read the answer, before the connection ends."""


class DroppingHttp(Http):
    """Drops a body that no handler has read, and ends the connection with the answer.

    Sanic would wait for the rest of it, to use the connection again, and hold what has come.
    """

    __slots__ = ("is_deaf",)

    def __init__(self, protocol: HttpProtocol) -> None:
        super().__init__(protocol)  # type: ignore[no-untyped-call]
        self.is_deaf = False  # whether what still comes is thrown away

    def drop(self) -> None:
        """Keep nothing of what has come. The connection stays if that was the whole request."""
        buffer: bytearray = self.recv_buffer
        left = self.request_bytes_left or 0
        body: Any = self.request_body  # its type does not say that it can be "chunked"
        is_whole = body != "chunked" and left == len(buffer)
        buffer.clear()
        self.request_body = None
        self.expecting_continue = False
        if not is_whole:
            self.keep_alive = False
            self.is_deaf = True

    @override
    async def http1(self) -> None:
        await super().http1()  # type: ignore[no-untyped-call]
        transport = self.protocol.transport
        if self.is_deaf and transport and not transport.is_closing():
            if transport.can_write_eof():
                transport.write_eof()
            await asyncio.sleep(LINGER_S)  # closed at once, the answer could be lost on its way

    @override
    async def http1_response_header(self, data: bytes, end_stream: bool) -> None:
        if self.request_body or not self.keep_alive:
            self.drop()
        await super().http1_response_header(data, end_stream)


def drop(request: Request[Any, Any]) -> None:
    """Keep nothing of the body of a request that is refused. The answer may be late."""
    if isinstance(request.stream, DroppingHttp):
        request.stream.drop()


async def read(request: Request[Any, Any], max_bytes: int) -> bytes:
    """Return the body of a request whose handler has `stream=True`. Raises `Refusal`."""
    stream: Any = request.stream  # its type says neither that it is there nor `read`
    body = bytearray()
    try:
        while piece := await stream.read():
            body += piece
            if len(body) > max_bytes:  # Sanic has no limit if a handler reads
                raise too_large(max_bytes)
    except BadRequest as error:
        raise Invalid(f"the body cannot be read ({error}): send valid HTTP") from None
    return bytes(body)


def too_large(max_bytes: int) -> Refusal:
    """Return why a body is refused."""
    return Refusal(
        errors_pb2.ERROR_CODE_TOO_LARGE,
        f"the request is larger than {max_bytes} bytes: send a smaller one",
    )
