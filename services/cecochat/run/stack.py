"""Serves the server sets of this machine over HTTP on loopback, for `adapters/local`."""

from __future__ import annotations

import hmac
import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sanic import Request
from sanic.exceptions import NotFound
from sanic.response import HTTPResponse
from sanic.response import json as json_response

from cecochat.domain.errors import CannotScale, Unavailable
from cecochat.ports.deployment import ServerSet
from cecochat.ports.discovery import SERVICES, Service
from cecochat.runtime import http

LOOPBACK = "127.0.0.1"


class Stack(ABC):
    """The server sets of this machine."""

    @abstractmethod
    def state(self, service: Service) -> ServerSet:
        """Return a set as it is now."""

    @abstractmethod
    def scale(self, service: Service, count: int, reason: str) -> None:
        """Have a set grow or shrink. Raises `CannotScale`, or `Unavailable` during the start."""


@asynccontextmanager
async def serving(stack: Stack) -> AsyncIterator[str]:
    """Serve `GET /sets/SERVICE`, and `PUT` with a count and a reason. Yields host:port/SECRET.

    A request must send the secret as its bearer token.
    """
    app = http.app("stack")
    secret = secrets.token_urlsafe(16)

    @app.on_request
    async def check(request: Request) -> HTTPResponse | None:
        if hmac.compare_digest((request.token or "").encode(), secret.encode()):
            return None
        why = "only the servers of this `cecochat up` may give orders"
        return json_response({"why": why}, status=401)

    @app.get("/sets/<name:str>")
    async def state(_: Request, name: str) -> HTTPResponse:
        return _answer(stack.state(_service(name)))

    @app.put("/sets/<name:str>")
    async def scale(request: Request, name: str) -> HTTPResponse:
        try:
            stack.scale(_service(name), int(request.json["count"]), str(request.json["reason"]))
        except CannotScale as error:
            return json_response({"why": str(error)}, status=409)
        except Unavailable as error:
            return json_response({"why": str(error)}, status=503)
        return _answer(stack.state(_service(name)))

    async with http.serving(app, LOOPBACK, 0) as port:
        yield f"{LOOPBACK}:{port}/{secret}"


def _service(name: str) -> Service:
    for service in SERVICES:
        if service == name:
            return service
    raise NotFound(f"there is no set {name}: use one of {', '.join(SERVICES)}")


def _answer(found: ServerSet) -> HTTPResponse:
    body = found._asdict() | {
        "limits": found.limits._asdict(),
        "allocations": [allocation._asdict() for allocation in found.allocations],
    }
    return json_response(body, dumps=json.dumps)
