"""Signs development tokens for the chat page: ADR 0212 says for whom, and for nobody else."""

from __future__ import annotations

import hashlib
import json
import logging
import os

from sanic import Request
from sanic.response import HTTPResponse
from sanic.response import json as json_response

from cecochat.auth.minting import mint
from cecochat.domain.cluster.origins import origin
from cecochat.domain.errors import Invalid, Refusal
from cecochat.runtime import bodies
from cecochat.runtime.http import App, error_response
from cecochat.servers.connect.peer import Address, user_of
from cecochat.settings.settings import Settings
from cecochat.v1 import errors_pb2

log = logging.getLogger(__name__)

PATH = "/development/token"
"""It is not below /v1/, since the edge leads to all that is."""
LIFETIME_S = 3_600
REQUEST_MAX_BYTES = 1 << 10
SYSTEM_DIGITS = 16
PROXIED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
"""Headers of a request that somebody passes on for somebody else."""
UNKNOWN_CALLER = (
    "the page only has tokens for the user who runs the server, whose connections Linux names: "
    "make a token with `cecochat token`"
)


def own_origin(request: Request, settings: Settings) -> str:
    """Return the origin of this server's own page, which is the URL to open it at."""
    return origin(settings.http_url(f"{settings.public_host}:{_server(request).port}"))


def is_asked_for_by_own_name(request: Request, settings: Settings) -> bool:
    """Return whether the one Host header of a request names this server as its own page does.

    A foreign page can make its own name resolve to this server (DNS rebinding), but then a browser
    says that name.
    """
    host = own_origin(request, settings).partition("://")[2]
    return request.headers.getall("host", []) == [host]


def add_tokens(app: App, secret: bytes, settings: Settings) -> None:
    """Add `POST /development/token`, which signs a token for any user that the page names.

    It also says which system this is: a browser keeps what it stores of each apart, since one with
    another data folder may have the same address.
    """
    system = hashlib.sha256(b"the system with the secret " + secret).hexdigest()[:SYSTEM_DIGITS]

    @app.post(PATH, stream=True)
    async def token(request: Request) -> HTTPResponse:
        try:
            _check_page(request, settings)
            _check_caller(request)
            user = await _user(request)
            signed = mint(secret, user, LIFETIME_S)
        except Refusal as refusal:
            return error_response(refusal, more_headers={"cache-control": "no-store"})
        log.debug("the chat page has a development token for %s", user)
        answer = {"token": signed, "system": system}
        return json_response(answer, headers={"cache-control": "no-store"})


def _check_page(request: Request, settings: Settings) -> None:
    """Raise `Refusal` unless a browser says that our own page asks."""
    headers = request.headers
    own = headers.getall("origin", []) == [own_origin(request, settings)]
    site = headers.get("sec-fetch-site", "same-origin")
    if not own or site != "same-origin" or not is_asked_for_by_own_name(request, settings):
        raise _forbidden("only the chat page of this server has tokens: open it at its own address")
    if proxied := next((name for name in PROXIED if name in headers), None):
        raise _forbidden(f"a proxy has passed this on ({proxied}): open the page without one")
    if headers.getall("content-type", []) != ["application/json"]:
        raise Invalid("send `content-type: application/json`")


def _check_caller(request: Request) -> None:
    """Raise `Refusal` unless this server's own user asks, who can read the secret anyway."""
    assert request.conn_info and request.conn_info.peername
    uid = user_of(Address(*request.conn_info.peername), _server(request))
    if uid is None or uid != os.geteuid():
        raise _forbidden(UNKNOWN_CALLER)


def _server(request: Request) -> Address:
    assert request.conn_info
    return Address(*request.conn_info.sockname)


async def _user(request: Request) -> str:
    sent = await bodies.read(request, REQUEST_MAX_BYTES)
    try:
        body = json.loads(sent.decode())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or body.keys() != {"user"} or not isinstance(body["user"], str):
        raise Invalid('send {"user": "alice"}')
    return body["user"]


def _forbidden(message: str) -> Refusal:
    return Refusal(errors_pb2.ERROR_CODE_FORBIDDEN, message)
