"""Which web pages may use what servers have for browsers: queries and lookups over HTTP (by CORS,
https://fetch.spec.whatwg.org/#http-cors-protocol), and WebSockets.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sanic import Request
from sanic.response import BaseHTTPResponse, HTTPResponse

from cecochat.domain.cluster.configuration import Config
from cecochat.domain.cluster.origins import origin, origins
from cecochat.domain.errors import Refusal
from cecochat.ports.discovery import Discovery
from cecochat.runtime.http import App
from cecochat.settings.settings import Settings
from cecochat.v1 import errors_pb2

FORBIDDEN: Final = 403
PREFLIGHT_S: Final = 7_200  # browsers keep an answer for no longer
PREFLIGHT: Final = {
    "access-control-allow-methods": "GET, POST",
    "access-control-allow-headers": (
        "authorization, connect-protocol-version, connect-timeout-ms, content-encoding, "
        "content-type, traceparent"
    ),
    "access-control-max-age": str(PREFLIGHT_S),
}
EXPOSED: Final = "retry-after, www-authenticate"
LOOPBACK: Final = "//127.0.0.1"
REFUSED: Final = "pages of this origin may not connect: add it to the configuration key web.origins"


class Origins:
    """Says which pages are let in: the own page, which is any at the address of a connect server or
    of the edge, and those that `web.origins` names. A program that sends no `Origin` is no browser.
    """

    def __init__(self, settings: Settings, discovery: Discovery) -> None:
        self._settings = settings
        self._discovery = discovery
        self._named: frozenset[str] = frozenset()

    def configure(self, config: Config) -> None:
        """Follow a new configuration."""
        self._named = origins(config.web_origins)

    def allow(self, page: str) -> bool:
        """Return whether pages of an origin, as a browser says it, are let in."""
        return page in self._named or page in self._own()

    def _own(self) -> set[str]:
        urls = (self._settings.http_url(each.address) for each in self._discovery.live("connect"))
        own = set(map(origin, urls))
        return own | {each.replace(LOOPBACK, "//localhost") for each in own}

    def watch(self, app: App, but: Collection[str] = ()) -> None:
        """Have an application refuse other pages, and let these read its answers, but at the paths
        that look after themselves.
        """
        app.ctx.not_watched = but
        app.register_middleware(self._admit, "request")
        app.register_middleware(self._let_read, "response")

    async def _admit(self, request: Request) -> HTTPResponse | None:
        if request.path in request.app.ctx.not_watched:
            return None
        pages = request.headers.getall("origin", [])
        if not all(map(self.allow, pages)):
            refusal = Refusal(errors_pb2.ERROR_CODE_FORBIDDEN, REFUSED)
            answer: HTTPResponse = request.app.ctx.refused(request, refusal, FORBIDDEN, None)
            return answer
        if pages and request.method == "OPTIONS":
            return HTTPResponse(status=204, headers=PREFLIGHT)
        return None

    async def _let_read(self, request: Request, response: BaseHTTPResponse) -> None:
        if request.path in request.app.ctx.not_watched:
            return
        varies = response.headers.get("vary")
        response.headers["vary"] = f"{varies}, origin" if varies else "origin"
        page = request.headers.get("origin")
        if page and self.allow(page):
            response.headers["access-control-allow-origin"] = page
            response.headers["access-control-expose-headers"] = EXPOSED
