"""The WebSocket transport. A binary message is a frame of the protocol; the token is in the hello,
since a browser cannot send it in a header.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from cecochat.auth.tokens import Identity
from cecochat.domain.errors import Refusal
from cecochat.domain.session import frames, intake
from cecochat.domain.websocket import LEFT, PROTOCOL, close_code
from cecochat.runtime.grpc import INTERNAL
from cecochat.runtime.origins import Origins
from cecochat.runtime.socket import Socket
from cecochat.runtime.tarpit import Tarpit
from cecochat.runtime.websocket import Endpoint, Serve
from cecochat.servers.messaging.connection import CLOSE_GRACE_S
from cecochat.servers.messaging.refusals import HELLO_TIMEOUT_S, no_hello
from cecochat.servers.messaging.server import MessagingServer
from cecochat.settings.settings import CHAT_PATH
from cecochat.v1 import errors_pb2

log = logging.getLogger(__name__)


def endpoint(origins: Origins) -> Endpoint:
    """Return what is served, to pages of these origins."""
    return Endpoint(CHAT_PATH, PROTOCOL, intake.FRAME_MAX_BYTES, origins.refusal)


def service(server: MessagingServer) -> Serve:
    """Return what serves one WebSocket of `server` to its end."""
    tarpit = Tarpit()

    async def chat(socket: Socket) -> None:
        refusal: Refusal | None = None
        try:
            refusal = await _serve(server, socket)
        except Refusal as refused:
            refusal = refused.detached()
            await tarpit.hold(refusal)
            await _say(socket, refusal)
        except Exception:
            log.exception("a stream failed")
            refusal = INTERNAL
            await _say(socket, refusal)
        finally:
            server.metrics.streams.labels(refusal.name if refusal else "ok").inc()
        if refusal:
            await socket.close(close_code(refusal), refusal.name)
        else:
            await socket.close(LEFT, "")

    return chat


async def _serve(server: MessagingServer, socket: Socket) -> Refusal | None:
    """Serve the session. Returns why the server ended it, after the client was told; None if the
    client left. Raises `Refusal` if the client was not told yet.
    """
    first: bytes | None = await _first(socket)
    if first is None:
        return None
    token, identity = _authenticated(server, first)
    socket.authenticated()

    async def read() -> bytes | None:
        nonlocal first
        if (hello := first) is None:
            return await socket.read()
        first = None
        return hello

    with server.metrics.streams_open.labels("websocket").track_inprogress():
        return await server.serve(token, identity, read, socket.write)


async def _first(socket: Socket) -> bytes | None:
    try:
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            return await socket.read()
    except TimeoutError:
        raise no_hello() from None


def _authenticated(server: MessagingServer, first: bytes) -> tuple[str, Identity]:
    """Return the token and the identity in a hello. Raises `Refusal`."""
    frame = intake.parse(first)
    intake.check_hello(frame)
    if not (token := frame.hello.token):
        message = "there is no token: put it into the token of the hello"
        raise Refusal(errors_pb2.ERROR_CODE_UNAUTHENTICATED, message)
    return token, server.verifier.verify(token)


async def _say(socket: Socket, refusal: Refusal) -> None:
    """Tell a client why it is not served, unless it does not read."""
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_GRACE_S):
            await socket.write(frames.disconnect(refusal))
