"""The listener of a server that is not for clients: health, metrics, and what operators and other
servers ask. What clients send cannot starve it. Each route declares who may ask, with `ctx_scope`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from sanic import Request
from sanic.response import HTTPResponse, raw
from sanic.response import json as json_response

from cecochat.auth.certificates import Certificate
from cecochat.auth.operators import ANYBODY
from cecochat.runtime import http
from cecochat.runtime.guard import Guard, undeclared
from cecochat.settings.settings import Settings


def app(
    guard: Guard,
    name: str,
    instance_id: str,
    registry: CollectorRegistry,
    not_ready: Callable[[], str | None],
) -> http.App:
    """An application with `/livez`, `/readyz` (503 and why, while `not_ready` says so) and
    `/metrics`.

    `/livez?instance=ID` asks for one start of a server: another one on the same port, such as the
    next after a kill, answers 410, so that nobody takes the dead for alive.
    """
    made = http.app(name)
    guard.watch(made)

    @made.get("/livez", ctx_scope=ANYBODY)
    async def livez(request: Request) -> HTTPResponse:
        asked = request.args.get("instance", instance_id)
        if asked == instance_id:
            return json_response({"status": "alive"})
        why = f"this is {instance_id}, {asked} was here before"
        return json_response({"status": "gone", "why": why}, status=410)

    @made.get("/readyz", ctx_scope=ANYBODY)
    async def readyz(_: Request) -> HTTPResponse:
        why = not_ready()
        if why is None:
            return json_response({"status": "ready"})
        return json_response({"status": "not ready", "why": why}, status=503)

    @made.get("/metrics", ctx_scope="metrics")
    async def metrics(_: Request) -> HTTPResponse:
        return raw(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    return made


def serving(
    made: http.App, settings: Settings, port: int, certificate: Certificate | None = None
) -> AbstractAsyncContextManager[int]:
    """As `http.serving`, where the settings say that internal listeners are. None of its routes
    may leave open who may ask.
    """
    if open_ones := undeclared(made):
        raise ValueError(f"who may ask {open_ones}? ctx_scope must say")
    return http.serving(made, settings.internal_host, port, certificate)
