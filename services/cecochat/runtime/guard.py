"""Who passes to the internal listeners, and the log of those who look at people or change
something.
"""

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
UNKNOWN_PER_S, UNKNOWN_BURST = 10, 100  # lines of the log; who has no token fills no disk


class Guard:
    """Checks the host that is asked, and the token for what the route declares with `ctx_scope`: a
    scope, or that anybody may ask.
    """

    def __init__(self, operators: Operators, settings: Settings) -> None:
        self._operators = operators
        self._asks_certificate = settings.internal_tls is not None
        named = (settings.host, settings.advertise_host, settings.internal_host)
        self._hosts = {"localhost", *(host.lower() for host in named if host)}
        self._unknown = TokenBucket(UNKNOWN_BURST, time.monotonic())
        self._left_out = 0  # of the lines about them, since the last one

    def watch(self, app: App) -> None:
        """Let nothing pass to this application that may not."""
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
        who = getattr(request.ctx, "operator", UNKNOWN)
        if who != UNKNOWN or self._may_log():
            _write(who, request, response)

    def _may_log(self) -> bool:
        """Whether one more line about somebody unknown is written, after how many are not."""
        if self._unknown.try_take(time.monotonic(), UNKNOWN_PER_S, UNKNOWN_BURST):
            self._left_out += 1
            return False
        if self._left_out:
            log.warning("%s: %s more calls, without a line each", UNKNOWN, self._left_out)
            self._left_out = 0
        return True

    def _is_ours(self, host: str) -> bool:
        """Somebody else's page can make its own name lead here, but not an address (DNS
        rebinding).
        """
        try:
            parts = urlsplit(f"//{host}")
            name = parts.hostname or ""
            known = name in self._hosts or bool(ip_address(name))
            return known and parts.username is None
        except ValueError:
            return False

    def _check_token(self, request: Request) -> None:
        if request.route is None:
            return  # there is nothing to see
        scope = scope_of(request.route)
        if scope != ANYBODY:
            if self._asks_certificate:
                peers.check(request)
            caller = self._operators.verify(bearer(request.headers.get("authorization")))
            request.ctx.operator = caller.name
            allow(caller, scope)


def scope_of(route: object) -> str:
    """What a route declares; empty, and so nobody's, where it declares nothing."""
    return str(getattr(getattr(route, "ctx", None), "scope", ""))


def undeclared(app: App) -> list[str]:
    """The routes that do not say who may ask them."""
    known = (ANYBODY, *SCOPES)
    return [route.path for route in app.router.routes if scope_of(route) not in known]


def concerns(request: Request, *whom: str) -> None:
    """Whom a call is about, where neither its path nor its query says so; for the log."""
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
