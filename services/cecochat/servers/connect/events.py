"""Streams events to the product's back end: `POST /v1/events`. A hook server reads them; this one
says who may, and passes them on.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import Final

import httpx
from sanic import Request
from sanic.response import HTTPResponse, raw

from cecochat.auth.tokens import Identity
from cecochat.domain.errors import Invalid, Refusal
from cecochat.domain.log.ids import app_of
from cecochat.internal.client import InternalClient
from cecochat.internal.v1.internal_pb2 import Tail
from cecochat.ports.discovery import Instance
from cecochat.runtime import bodies
from cecochat.runtime.arriving import Arrivals
from cecochat.runtime.http import RETRY_MS, App, error_response, sent
from cecochat.runtime.tarpit import Tarpit
from cecochat.servers.connect.backend import Backend
from cecochat.v1 import errors_pb2

log = logging.getLogger(__name__)

PATH: Final = "/v1/events"
BODY_MAX_BYTES: Final = 256 << 10
STREAMS_MAX: Final = 8
"""How many streams a service, or all those of an app, may have here: each reads the whole log."""
SILENT_S: Final = 30.0
"""A hook server that says nothing for so long is gone."""


class Events:
    """Opens streams. `hooks` returns the live hook servers, which take turns."""

    def __init__(
        self, backend: Backend, client: InternalClient, hooks: Callable[[], Sequence[Instance]]
    ) -> None:
        self._backend = backend
        self._client = client
        self._hooks = hooks
        self._open: Counter[str] = Counter()  # by service, or by app
        self._turns = count()
        self._arrivals = Arrivals()
        self._tarpit = Tarpit()

    async def stream(self, request: Request) -> HTTPResponse | None:
        """Answer a request: with a stream, or with what keeps it from being one."""
        try:
            caller = self._backend.admit(request.headers.get("authorization", ""), "read")
            async with self._arrivals.soon():
                tail = _tail(await bodies.read(request, BODY_MAX_BYTES))
                tail.app = app_of(caller.user_id)
            with self._counted(caller):
                return await self._pass_on(request, tail, caller)
        except Refusal as refused:
            refusal = refused.detached()
        bodies.drop(request)
        await self._tarpit.hold(refusal)
        return error_response(refusal)

    @contextmanager
    def _counted(self, caller: Identity) -> Iterator[None]:
        who = caller.account
        if self._open[who] >= STREAMS_MAX:
            raise Refusal(
                errors_pb2.ERROR_CODE_RATE_LIMITED,
                f"{who} has {STREAMS_MAX} streams here: close one of them first",
                RETRY_MS,
            )
        self._open[who] += 1
        try:
            yield
        finally:
            self._open[who] -= 1

    async def _pass_on(self, request: Request, tail: Tail, caller: Identity) -> HTTPResponse | None:
        live = self._hooks()
        if not live:
            raise _nobody()
        response = None
        try:
            with suppress(TimeoutError):
                async with (
                    asyncio.timeout(max(0.0, caller.expires_at_s - time.time())),
                    self._client.tail(live[next(self._turns) % len(live)], tail) as found,
                ):
                    if found.status_code != httpx.codes.OK:
                        body, kind = await found.aread(), found.headers.get("content-type", "")
                        return raw(body, status=found.status_code, content_type=kind)
                    kind = found.headers["content-type"]
                    response = await request.respond(content_type=kind)
                    async for part in found.aiter_raw():
                        self._backend.verify(request.headers["authorization"])
                        await response.send(part)
                        await sent(request)
        except Refusal:
            if response is None:
                raise
        except httpx.HTTPError as error:
            log.warning("a stream of events ends: %s", str(error) or type(error).__name__)
            if response is None:
                raise _nobody() from None
        if response is not None:
            await response.eof()
        return None


def add_route(app: App, events: Events) -> None:
    """Add the route."""

    @app.post(PATH, stream=True)
    async def stream(request: Request) -> HTTPResponse | None:
        return await events.stream(request)


def _tail(body: bytes) -> Tail:
    """Return what is asked for. Raises `Invalid`."""
    try:
        given = json.loads(body or b"{}")
        if not isinstance(given, dict) or not given.keys() <= {"after", "kinds", "chats"}:
            raise Invalid("the body is an object with `after`, `kinds` and `chats`, all optional")
        return Tail(**given)
    except (ValueError, TypeError, RecursionError):
        raise Invalid("`after` is text; `kinds` and `chats` are lists of texts") from None


def _nobody() -> Refusal:
    return Refusal(errors_pb2.ERROR_CODE_UNAVAILABLE, "no hook server answers: try again", RETRY_MS)
