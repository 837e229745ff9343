"""Guards the internal listeners, and logs who looks at people or changes something."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from urllib.parse import urlsplit

from sanic import Request
from sanic.response import BaseHTTPResponse, HTTPResponse

from cecochat.auth import peers
from cecochat.auth.operators import ANYBODY, SCOPES, Operators, allow, bearer
from cecochat.domain.errors import Invalid, Refusal
from cecochat.domain.session.bucket import TokenBucket
from cecochat.runtime.http import App, error_response
from cecochat.settings.settings import PREFIX, Settings
from cecochat.telemetry.logs import ACCESS

log = logging.getLogger(ACCESS)

LOGGED = ("people", "change")
MISDIRECTED = 421
UNKNOWN = "somebody unknown"
UNKNOWN_PER_S, UNKNOWN_BURST = 10, 100  # log lines, so that nobody without a token fills a disk


class Guard:
    """Checks the host and the token of each request to an internal listener.

    Each route declares with `ctx_scope` which scope a token needs, or that anybody may ask.
    """

    def __init__(self, operators: Operators, settings: Settings) -> None:
        self._operators = operators
        self._asks_certificate = settings.internal_tls is not None
        named = (settings.host, settings.advertise_host, settings.internal_host)
        self._hosts = {"localhost", *(host.lower() for host in named if host)}
        self._unknown = TokenBucket(UNKNOWN_BURST, time.monotonic())
        self._left_out = 0  # how many lines about unknown callers were left out since the last one

    def watch(self, app: App) -> None:
        """Guard an application."""
        app.register_middleware(self._admit, "request")
        app.register_middleware(self._note, "response")

    async def _admit(self, request: Request) -> HTTPResponse | None:
        try:
            if not all(map(self._is_ours, request.headers.getall("host", []))):
                return error_response(_misdirected(), MISDIRECTED)
            self._check_token(request)
        except Refusal as refusal:
            return error_response(refusal)
        return None

    async def _note(self, request: Request, response: BaseHTTPResponse) -> None:
        if scope_of(request.route) not in LOGGED:
            return
        caller = getattr(request.ctx, "caller", None)
        who = caller.name if caller else UNKNOWN
        if who != UNKNOWN or self._may_log():
            _write(who, request, response)

    def _may_log(self) -> bool:
        """Return whether to write one more line about somebody unknown."""
        if self._unknown.take_or_wait_s(time.monotonic(), UNKNOWN_PER_S, UNKNOWN_BURST):
            self._left_out += 1
            return False
        if self._left_out:
            log.warning("%s made %s more calls that were not logged", UNKNOWN, self._left_out)
            self._left_out = 0
        return True

    def _is_ours(self, host: str) -> bool:
        """Return whether a Host header names this server.

        A foreign web page can make its own name resolve to this server (DNS rebinding), but it
        cannot do that with an address.
        """
        try:
            parts = urlsplit(f"//{host}")
            name = parts.hostname or ""
            names_us = name in self._hosts or bool(ip_address(name))
            return names_us and parts.username is None
        except ValueError:
            return False

    def _check_token(self, request: Request) -> None:
        if request.route is None:
            return  # there is nothing here
        scope = scope_of(request.route)
        if scope != ANYBODY:
            if self._asks_certificate:
                peers.check(request)
            caller = self._operators.verify(bearer(request.headers.get("authorization")))
            request.ctx.caller = caller
            allow(caller, scope)


def scope_of(route: object) -> str:
    """Return the scope that a route declares; if it declares none, "", which no token has."""
    return str(getattr(getattr(route, "ctx", None), "scope", ""))


def undeclared(app: App) -> list[str]:
    """Return the routes that do not say who may ask them."""
    valid = (ANYBODY, *SCOPES)
    return [route.path for route in app.router.routes if scope_of(route) not in valid]


def concerns(request: Request, *whom: str) -> None:
    """Note for the log whom a call is about, if neither its path nor its query says so."""
    request.ctx.concerns = whom


# -- the log


def _write(who: str, request: Request, response: BaseHTTPResponse) -> None:
    whom = list(_whom(request))
    said = {
        "operator": who,
        "address": request.ip,
        "method": request.method,
        "path": request.path,
        "concerns": whom,
        "status": response.status,
    }
    about = f" ({', '.join(whom)})" if whom else ""
    log.info(
        "%s at %s: %s %s%s: %s", who, request.ip, request.method, request.path, about,
        response.status, extra=said,
    )  # fmt: skip


def _whom(request: Request) -> Iterator[str]:
    yield from map(str, request.match_info.values())
    for name in ("user", "chat"):
        yield from request.args.getlist(name, [])
    told: Iterable[str] = getattr(request.ctx, "concerns", ())
    yield from told


def _misdirected() -> Refusal:
    return Invalid(
        "this server is not called that: ask it by its address, or by the name that "
        f"{PREFIX}INTERNAL_HOST or {PREFIX}ADVERTISE_HOST says",
    )
