"""Serves WebSockets (RFC 6455): the handshake, whole messages, backpressure, and signs of life.

picows parses and masks. What an attacker could do with it is bounded here: see ADR 0200.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from picows import (
    WSAutoPingStrategy,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)
from picows.picows import WSProtocol  # type: ignore[attr-defined]
from typing_extensions import override

from cecochat.auth.certificates import Certificate
from cecochat.domain.errors import Refusal
from cecochat.domain.websocket import BEAT_S
from cecochat.runtime.http import STATUS
from cecochat.runtime.listening import BACKLOG, bound_unsent, listening
from cecochat.runtime.socket import Socket

log = logging.getLogger(__name__)

HANDSHAKE_S = 10.0
READ_BUFFER_BYTES = 4 << 10  # it grows with the largest frame that comes
UNAUTHENTICATED_MAX = 1_000
"""The most connections that may be open without a token. One more, and the oldest is cut off."""

Serve = Callable[[Socket], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What is served: one path, one sub-protocol, and to pages of which origins."""

    path: str
    protocol: str
    message_max_bytes: int
    unwelcome: Callable[[Sequence[str]], Refusal | None]
    """Why pages of some origins are refused, or None."""

    def refusal(self, request: WSUpgradeRequest) -> tuple[int, str] | None:
        """Return the HTTP status and the reason why a handshake is refused, or None."""
        if request.path.partition(b"?")[0] != self.path.encode():
            return 404, f"there is nothing here: open a WebSocket at {self.path}"
        if refusal := self.unwelcome(request.headers.getall("origin", [])):
            return STATUS[refusal.error_code], refusal.message
        if self.protocol not in _listed(request, "sec-websocket-protocol"):
            return 400, f"offer the sub-protocol {self.protocol}"
        return None


def _listed(request: WSUpgradeRequest, header: str) -> list[str]:
    return [each.strip() for each in ",".join(request.headers.getall(header, [])).split(",")]


class _Quiet(logging.LoggerAdapter[logging.Logger]):
    """Drops what picows logs about clients, since anybody could fill a disk with it."""

    @override
    def isEnabledFor(self, level: int) -> bool:
        return level >= logging.ERROR and super().isEnabledFor(level)

    @override
    def error(self, *_: object, **__: object) -> None:
        pass


class _Protocol(WSProtocol):  # type: ignore[misc] # it has no stub
    """picows's protocol, which tells its socket when it is made, hears and breaks."""

    def __init__(self, listener: Listener) -> None:
        self.unauthenticated = listener.unauthenticated
        self.broken = False  # picows is about to disconnect: what comes is thrown away
        super().__init__(
            None, None, False, partial(listener.upgraded, self), listener.logger, True,
            HANDSHAKE_S, False, 20, 20, WSAutoPingStrategy.PING_WHEN_IDLE, False,
            listener.endpoint.message_max_bytes, None, READ_BUFFER_BYTES,
        )  # fmt: skip

    def connection_made(self, transport: asyncio.Transport) -> None:
        bound_unsent(transport)
        super().connection_made(transport)
        self.unauthenticated[self] = None
        if len(self.unauthenticated) > UNAUTHENTICATED_MAX:
            next(iter(self.unauthenticated)).transport.disconnect(graceful=False)

    def connection_lost(self, error: Exception | None) -> None:
        self.unauthenticated.pop(self, None)
        super().connection_lost(error)

    def buffer_updated(self, nbytes: int) -> None:
        if self.broken:
            return
        super().buffer_updated(nbytes)
        if self.listener is not None:
            self.broken = not self.listener.hear(nbytes)


class Listener:
    """The open sockets of one endpoint, and the tasks that serve them."""

    def __init__(self, endpoint: Endpoint, serve: Serve, group: asyncio.TaskGroup) -> None:
        self.endpoint = endpoint
        self.logger = _Quiet(log, {})
        self.unauthenticated: dict[Any, None] = {}  # the oldest first
        self.open: set[Socket] = set()
        self._serve = serve
        self._group = group

    def upgraded(
        self, protocol: _Protocol, request: WSUpgradeRequest
    ) -> WSUpgradeResponseWithListener:
        """Answer a handshake."""
        if refused := self.endpoint.refusal(request):
            status, reason = refused
            response = WSUpgradeResponse.create_error_response(status, f"{reason}\n".encode())
            return WSUpgradeResponseWithListener(response, None)
        if "upgrade" in (each.lower() for each in _listed(request, "connection")):
            request.headers["connection"] = "upgrade"  # picows knows no list, as Firefox sends it
        accepted = {"Sec-WebSocket-Protocol": self.endpoint.protocol}
        return WSUpgradeResponseWithListener(
            WSUpgradeResponse.create_101_response(accepted),
            Socket(
                self.endpoint.message_max_bytes,
                self._begin,
                lambda: self.unauthenticated.pop(protocol, None),
            ),
        )

    def _begin(self, socket: Socket) -> asyncio.Task[None]:
        self.open.add(socket)
        return self._group.create_task(self._run(socket))

    async def _run(self, socket: Socket) -> None:
        try:
            await self._serve(socket)
        except Exception:  # one socket must not end the others
            log.exception("a WebSocket failed")
        finally:
            self.open.discard(socket)
            socket.abort()

    async def beat(self) -> None:
        """Look after each socket, until cancelled."""
        while True:
            await asyncio.sleep(BEAT_S)
            for each in list(self.open):
                each.beat()

    def close(self) -> None:
        """Cut off everybody who is still connected."""
        for socket in list(self.open):
            socket.abort()
        for protocol in list(self.unauthenticated):
            protocol.transport.disconnect(graceful=False)


@asynccontextmanager
async def serving(
    endpoint: Endpoint, serve: Serve, host: str, port: int, certificate: Certificate | None
) -> AsyncIterator[int]:
    """Call `serve` for each WebSocket, in a task that is cancelled if its client is gone. Yields
    the port. Leaving the block cuts off whoever is connected.

    Raises `InvalidSettings` if the port is in use.
    """
    bound = listening(host, port, "WebSockets")
    async with asyncio.TaskGroup() as group:
        listener = Listener(endpoint, serve, group)
        made = await asyncio.get_running_loop().create_server(
            lambda: _Protocol(listener), sock=bound, backlog=BACKLOG, **_tls(certificate)
        )
        beating = group.create_task(listener.beat())
        try:
            yield bound.getsockname()[1]
        finally:
            made.close()
            beating.cancel()
            listener.close()


def _tls(certificate: Certificate | None) -> dict[str, Any]:
    if certificate is None:
        return {}
    return {
        "ssl": certificate.context,
        "ssl_handshake_timeout": HANDSHAKE_S,
        "ssl_shutdown_timeout": 1.0,
    }
