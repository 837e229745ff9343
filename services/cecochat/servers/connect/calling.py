"""Serves `cecochat.v1.Backend` over HTTP, by the Connect protocol, and over gRPC."""

from __future__ import annotations

from functools import partial

from cecochat.runtime import exchange
from cecochat.runtime.grpc import Service
from cecochat.runtime.hangup import HangUp
from cecochat.runtime.http import App
from cecochat.servers.connect.backend import REQUEST_MAX_BYTES, SERVICE, Backend

CONNECTION_AGE_MS = 300_000
"""How long a gRPC connection may last, so that calls spread over new servers."""


def add(app: App, backend: Backend) -> Service:
    """Add the calls to an HTTP application, each as `POST /cecochat.v1.Backend/NAME`. Returns the
    same as a gRPC service.
    """
    hanging_up = HangUp()
    handlers = {}
    for call in backend.offered:
        respond = partial(backend.respond, call)
        path = f"/{SERVICE}/{call.name}"
        exchange.add_route(app, path, call.response, respond, REQUEST_MAX_BYTES)
        handlers[call.name] = exchange.handler(respond, hanging_up)
    return Service(SERVICE, handlers, REQUEST_MAX_BYTES, CONNECTION_AGE_MS)
