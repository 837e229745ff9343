"""A server's internal listener, for health, metrics, operators and other servers.

Clients never reach it, so they cannot starve it. Each route declares with `ctx_scope` who may ask.
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
    """Return an application with `/livez`, `/readyz` and `/metrics`.

    `/readyz` answers 503 and the reason while `not_ready` returns one. `/livez?instance=ID` asks
    for one particular start of a server. Any other on the same port, such as the one after a kill,
    answers 410, so that nobody takes a dead server for a live one.
    """
    made = http.app(name)
    guard.watch(made)

    @made.get("/livez", ctx_scope=ANYBODY)
    async def livez(request: Request) -> HTTPResponse:
        asked = request.args.get("instance", instance_id)
        if asked == instance_id:
            return json_response({"status": "alive"})
        why = f"this is {instance_id}; {asked} was here before"
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
    """Serve an application at the internal host of the settings.

    Raises ValueError if a route does not declare who may ask it.
    """
    if open_ones := undeclared(made):
        raise ValueError(f"{open_ones} do not say who may ask them: declare it with ctx_scope")
    return http.serving(made, settings.internal_host, port, certificate)
