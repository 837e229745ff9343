"""Serves HTTP the way every server does: Sanic in the running loop, with typed errors."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from sanic import Request, Sanic
from sanic.exceptions import NotFound, SanicException
from sanic.http import Stage
from sanic.response import HTTPResponse
from sanic.response import json as json_response
from sanic.server.protocols.http_protocol import HttpProtocol
from typing_extensions import override

from cecochat.auth.certificates import Certificate
from cecochat.domain.errors import Refusal
from cecochat.runtime.arriving import REQUEST_TIMEOUT_S
from cecochat.runtime.bodies import DroppingHttp
from cecochat.runtime.listening import BACKLOG, bound_unsent, listening
from cecochat.v1 import errors_pb2

log = logging.getLogger(__name__)

App = Sanic[Any, Any]
_numbers = itertools.count()
REQUEST_MAX_BYTES = 64 << 10
RESPONSE_TIMEOUT_S = 30
KEEP_ALIVE_S = 60
CLOSE_S = 5.0
RETRY_MS = 1_000  # where something behind a server does not answer

STATUS = {
    errors_pb2.ERROR_CODE_INVALID_ARGUMENT: 400,
    errors_pb2.ERROR_CODE_UNAUTHENTICATED: 401,
    errors_pb2.ERROR_CODE_TOKEN_EXPIRED: 401,
    errors_pb2.ERROR_CODE_TOKEN_REVOKED: 401,
    errors_pb2.ERROR_CODE_FORBIDDEN: 403,
    errors_pb2.ERROR_CODE_TOO_LARGE: 413,
    errors_pb2.ERROR_CODE_RATE_LIMITED: 429,
    errors_pb2.ERROR_CODE_TOO_MANY_SESSIONS: 429,
    errors_pb2.ERROR_CODE_UNAVAILABLE: 503,
    errors_pb2.ERROR_CODE_UNIMPLEMENTED: 501,
    errors_pb2.ERROR_CODE_NOT_FOUND: 404,
    errors_pb2.ERROR_CODE_ERASED: 403,
    errors_pb2.ERROR_CODE_BANNED: 403,
    errors_pb2.ERROR_CODE_MUTED: 403,
    errors_pb2.ERROR_CODE_FROZEN: 403,
    errors_pb2.ERROR_CODE_REJECTED: 403,
    errors_pb2.ERROR_CODE_TOO_SOON: 403,
    errors_pb2.ERROR_CODE_BLOCKED: 403,
    errors_pb2.ERROR_CODE_STRANGER: 403,
}
"""Error code -> HTTP status. Any other code is 500."""

CODE = {
    408: errors_pb2.ERROR_CODE_TIMEOUT,
    413: errors_pb2.ERROR_CODE_TOO_LARGE,
    503: errors_pb2.ERROR_CODE_UNAVAILABLE,
}
"""HTTP status of a request that no handler sees -> error code. Others are INVALID_ARGUMENT."""


class ReadableRequest(Request[Any, Any]):
    """A request whose URL can always be parsed.

    To answer a request that it could not read, Sanic makes one with the method NONE and the same
    URL. If that cannot be parsed, it would fail again, and nobody would get an answer.
    """

    def __init__(
        self, url_bytes: bytes, headers: Any, version: str, method: str, *more: Any, **named: Any
    ) -> None:
        super().__init__(
            b"*" if method == "NONE" else url_bytes, headers, version, method, *more, **named
        )


class Deadlines(HttpProtocol):
    """Counts the time that a request may take from its first byte on, and lets little wait for a
    client that does not read.

    Sanic starts anew with each byte, so a request that trickles in would never time out.
    """

    HTTP_CLASS = DroppingHttp

    @override
    def connection_made(self, transport: Any) -> None:
        bound_unsent(transport)
        super().connection_made(transport)  # type: ignore[no-untyped-call]
        # it is full unless the kernel has everything; with 0, asyncio's TLS is always full
        transport.set_write_buffer_limits(high=1, low=0)

    async def sent(self) -> None:
        """Return once the kernel has everything that was sent."""
        await self._can_write.wait()

    @override
    def data_received(self, data: bytes) -> None:
        begun_s, http = self._time, self.http
        if isinstance(http, DroppingHttp) and http.is_deaf:
            return
        super().data_received(data)
        if http is not None and http.stage is not Stage.IDLE:
            self._time = begun_s


async def sent(request: Request[Any, Any]) -> None:
    """Return once the kernel has everything that was sent to whoever asks."""
    protocol: Any = request.protocol  # its type says less than it is
    await protocol.sent()


def error_response(
    refusal: Refusal, status: int | None = None, more_headers: Mapping[str, str] | None = None
) -> HTTPResponse:
    """Return a refusal as JSON."""
    body = {
        "code": refusal.name,
        "message": refusal.message,
        "retriable": refusal.retriable,
        "retry_after_ms": refusal.retry_after_ms,
    }
    status = status or STATUS.get(refusal.error_code, 500)
    headers = headers_of(refusal, more_headers)
    return json_response({"error": body}, status=status, headers=headers, dumps=json.dumps)


def headers_of(refusal: Refusal, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the headers of a refusal, and more: how long to wait, and that a token is needed."""
    headers = dict(more or {})
    if refusal.retry_after_ms:
        headers["retry-after"] = str(-(-refusal.retry_after_ms // 1_000))
    if refusal.error_code in (
        errors_pb2.ERROR_CODE_UNAUTHENTICATED,
        errors_pb2.ERROR_CODE_TOKEN_EXPIRED,
        errors_pb2.ERROR_CODE_TOKEN_REVOKED,
    ):
        headers["www-authenticate"] = "Bearer"
    return headers


def ask_again(error: Exception) -> HTTPResponse:
    """Return the answer while something behind a server does not answer."""
    message = f"{error}: ask again"
    return error_response(Refusal(errors_pb2.ERROR_CODE_UNAVAILABLE, message, RETRY_MS))


def refused_as_json(
    _: Request, refusal: Refusal, status: int, more_headers: Mapping[str, str] | None = None
) -> HTTPResponse:
    """Return the answer to a request that no handler sees."""
    return error_response(refusal, status, more_headers)


Refused = Callable[[Request, Refusal, int, Mapping[str, str] | None], HTTPResponse]
"""A function like `refused_as_json`."""


def app(name: str, refused: Refused = refused_as_json) -> App:
    """Return an application without any route. `refused` gives its errors their form."""
    unique = f"{name}-{next(_numbers)}"  # names have to be unique in a process
    made: App = Sanic(unique, configure_logging=False, request_class=ReadableRequest)
    made.config.FALLBACK_ERROR_FORMAT = "json"
    made.config.REQUEST_MAX_SIZE = REQUEST_MAX_BYTES
    made.config.REQUEST_TIMEOUT = REQUEST_TIMEOUT_S
    made.config.RESPONSE_TIMEOUT = RESPONSE_TIMEOUT_S
    made.config.KEEP_ALIVE_TIMEOUT = KEEP_ALIVE_S
    made.config.ACCESS_LOG = False
    made.config.MOTD = False
    made.config.TOUCHUP = False  # it would rewrite methods of a class that several apps share
    made.exception(Exception)(_failed)
    made.ctx.refused = refused
    return made


def _routes(request: Request) -> str:
    """Return what can be sent there, or else what an application answers, such as "GET /live, POST
    /revocations".
    """
    routes = request.app.router.routes
    named = {f"{method} /{each.path}" for each in routes for method in each.methods}
    if there := {each for each in named if each.partition(" ")[2] == request.path}:
        return ", ".join(sorted(there))
    calls = {each for each in named if "/cecochat.v1." in each}  # of which there are many
    return ", ".join(
        [*sorted(named - calls), *(["a call that /openapi.json has"] if calls else [])]
    )


async def _failed(request: Request, error: Exception) -> HTTPResponse:
    refused: Refused = request.app.ctx.refused
    if isinstance(error, SanicException):
        code = CODE.get(error.status_code, errors_pb2.ERROR_CODE_INVALID_ARGUMENT)
        what = str(error)[:200].rstrip(".")
        if isinstance(error, NotFound):
            what = f"there is nothing at {request.path[:200] or '/'}"
        refusal = Refusal(code, f"{what}: send {_routes(request)}")
        return refused(request, refusal, error.status_code, error.headers)
    log.error("a request failed", exc_info=error)
    message = "the server failed; its log has the cause: try again"
    return refused(request, Refusal(errors_pb2.ERROR_CODE_INTERNAL, message), 500, None)


@asynccontextmanager
async def serving(
    made: App, host: str, port: int, certificate: Certificate | None = None
) -> AsyncIterator[int]:
    """Serve an application in the running loop. Yields the port.

    Raises `InvalidSettings` if the port is in use.
    """
    bound = listening(host, port, made.name)
    server: Any = await made.create_server(
        sock=bound,
        backlog=BACKLOG,
        return_asyncio_server=True,
        protocol=Deadlines,
        access_log=False,
        ssl=certificate.context if certificate else None,
    )
    await server.startup()
    await server.start_serving()
    try:
        yield bound.getsockname()[1]
    finally:
        server.close()
        for connection in tuple(server.connections):
            connection.close_if_idle()  # Python 3.12 and later wait for connections kept alive
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                await server.wait_closed()
        Sanic.unregister_app(made)
