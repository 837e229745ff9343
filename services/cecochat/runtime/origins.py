"""Which web pages may use what servers have for browsers: queries and lookups over HTTP (by CORS,
https://fetch.spec.whatwg.org/#http-cors-protocol), and WebSockets.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from sanic import Request
from sanic.response import BaseHTTPResponse, HTTPResponse

from cecochat.domain.cluster.configuration import Config
from cecochat.domain.cluster.origins import origin, origins
from cecochat.domain.errors import Refusal
from cecochat.ports.discovery import Discovery
from cecochat.runtime.http import RETRY_MS, STATUS, App
from cecochat.settings.settings import Settings
from cecochat.v1 import errors_pb2

PREFLIGHT_S: Final = 7_200  # browsers keep an answer for no longer
PREFLIGHT: Final = {
    "access-control-allow-methods": "GET, POST, PUT",
    "access-control-allow-headers": (
        "authorization, connect-protocol-version, connect-timeout-ms, content-encoding, "
        "content-type, traceparent"
    ),
    "access-control-max-age": str(PREFLIGHT_S),
}
EXPOSED: Final = "retry-after, www-authenticate"
LOOPBACK: Final = "//127.0.0.1"
REFUSED: Final = Refusal(
    errors_pb2.ERROR_CODE_FORBIDDEN,
    "pages of this origin may not connect: add it to the configuration key web.origins",
)
NOT_YET: Final = Refusal(
    errors_pb2.ERROR_CODE_UNAVAILABLE,
    "it is not known yet which pages may connect, since the system starts: try again",
    RETRY_MS,
)


class Origins:
    """Says which pages are let in: the own page, which is any at the address of a connect server or
    of the edge, and those that `web.origins` names. A program that sends no `Origin` is no browser.
    """

    def __init__(self, settings: Settings, discovery: Discovery) -> None:
        self._settings = settings
        self._discovery = discovery
        self._named: frozenset[str] | None = None  # until there is a configuration

    def configure(self, config: Config) -> None:
        """Follow a new configuration."""
        self._named = origins(config.web_origins)

    def allow(self, page: str) -> bool:
        """Return whether pages of an origin, as a browser says it, are let in."""
        return page in (self._named or ()) or page in self._own()

    def refusal(self, pages: Iterable[str]) -> Refusal | None:
        """Return why a request of these origins is refused, if it is: forbidden, or unavailable
        while it is not known which pages are let in.
        """
        if all(map(self.allow, pages)):
            return None
        return REFUSED if self._is_known else NOT_YET

    @property
    def _is_known(self) -> bool:
        return self._named is not None and bool(self._discovery.live("connect"))

    def _own(self) -> set[str]:
        urls = (self._settings.http_url(each.address) for each in self._discovery.live("connect"))
        own = set(map(origin, urls))
        return own | {each.replace(LOOPBACK, "//localhost") for each in own}

    def watch(self, app: App, apart_from: Collection[str] = ()) -> None:
        """Have an application refuse pages that are not let in, and let the others read what it
        answers. The paths in `apart_from` look after themselves.

        While it is not known which pages are let in, all may read that they should ask again: a
        browser would tell a page nothing but that it is blocked.
        """
        app.ctx.not_watched = apart_from
        app.register_middleware(self._admit, "request")
        app.register_middleware(self._let_read, "response")

    async def _admit(self, request: Request) -> HTTPResponse | None:
        if request.path in request.app.ctx.not_watched:
            return None
        pages = request.headers.getall("origin", [])
        refusal = self.refusal(pages)
        if pages and request.method == "OPTIONS" and refusal is not REFUSED:
            for_now = {"access-control-max-age": "0"} if refusal else {}
            return HTTPResponse(status=204, headers=PREFLIGHT | for_now)
        if refusal is None:
            return None
        status = STATUS[refusal.error_code]
        answer: HTTPResponse = request.app.ctx.refused(request, refusal, status, None)
        return answer

    async def _let_read(self, request: Request, response: BaseHTTPResponse) -> None:
        if request.path in request.app.ctx.not_watched:
            return
        varies = response.headers.get("vary")
        response.headers["vary"] = f"{varies}, origin" if varies else "origin"
        page = request.headers.get("origin")
        if page and self.refusal([page]) is not REFUSED:
            response.headers["access-control-allow-origin"] = page
            response.headers["access-control-expose-headers"] = EXPOSED
