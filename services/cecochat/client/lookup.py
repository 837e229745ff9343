"""Asks the connect server where to go, with `GET /v1/connect`."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from cecochat.client.arguments import check_supplied, check_token, check_url
from cecochat.client.backoff import BackOff, asked_for
from cecochat.client.errors import ChatError, NotReachable, Refused

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 10.0
OK, NOT_FOUND = 200, 404


@dataclass(frozen=True, slots=True)
class Route:
    """The connect server's answer: where a user is served."""

    user_id: str
    partition: int
    server_id: str
    messaging: str  # host:port
    history: str | None  # host:port; None if no history server is live just now
    valid_for_s: float
    backoff: BackOff
    websocket: str = ""  # URL; empty if that server answers no WebSockets
    history_http: str = ""  # URL; empty if no live history server answers over HTTP


TOKEN_EXPIRED, TOKEN_REVOKED = "token_expired", "token_revoked"


class NoOtherToken(Refused):
    """The application supplied the revoked token again. Code `token_revoked`."""


Token = str | Callable[[], Awaitable[str]]
"""A token, or an async function that returns a fresh one.

It is called for every connection and every query, and before a token expires.
"""


def trust(ca_file: Path | None) -> tuple[ssl.SSLContext, grpc.ChannelCredentials]:
    """Return what verifies the servers' certificates, for HTTP and for gRPC.

    Without a file, it is the one that SSL_CERT_FILE names. If that is not set either, HTTP trusts
    the system's authorities, and gRPC those that come with it. Raises `NotReachable`.
    """
    named = os.environ.get("SSL_CERT_FILE")
    file = ca_file or (Path(named) if named else None)
    try:
        return (
            ssl.create_default_context(cafile=file),
            grpc.ssl_channel_credentials(file.read_bytes() if file else None),
        )
    except OSError as error:
        raise NotReachable(f"the certificates in {file} cannot be used: {error}") from None


class Lookup:
    """Asks one connect server on behalf of one user, and uses its last answer while that is valid.

    If the URL is `https://`, messaging and history are reached over TLS, too: `credentials` are for
    gRPC, `ssl_context` for WebSockets; both are None without TLS.
    """

    def __init__(self, connect_url: str, token: Token, ca_file: Path | None) -> None:
        self._url = connect_url.rstrip("/")
        self._token = token
        self.ca_file = ca_file
        self._route: Route | None = None
        self._valid_until_s = 0.0
        self._revoked = ""  # the last token that a server called revoked
        self.credentials: grpc.ChannelCredentials | None = None
        self.ssl_context: ssl.SSLContext | None = None
        if not self._url.startswith("http://"):  # plain HTTP need not load any certificates
            self.ssl_context, self.credentials = trust(ca_file)
        import httpx  # takes as long as all the rest of the client

        self._http = httpx.AsyncClient(timeout=TIMEOUT_S, verify=self.ssl_context or False)

    @property
    def url(self) -> str:
        """The address of the connect server, without a slash at its end."""
        return self._url

    @property
    def http(self) -> httpx.AsyncClient:
        """What reaches the connect server."""
        return self._http

    @property
    def renewable(self) -> bool:
        """Whether the application can supply another token."""
        return callable(self._token)

    async def token(self) -> str:
        """Return a token to use now.

        Raises `NoOtherToken` if the only one has been revoked, and `InvalidArgument` if the
        application's function returned none.
        """
        token = await self._token() if callable(self._token) else self._token
        check_supplied(token)
        if token == self._revoked:
            raise NoOtherToken(TOKEN_REVOKED, "the token has been revoked: log in again")
        return token

    def note(self, error: ChatError | None, token: str) -> None:
        """Note how a session with `token` ended. A revoked token is not used again."""
        if error and error.code == TOKEN_REVOKED and not isinstance(error, NoOtherToken):
            self._revoked = token

    def mends(self, error: ChatError) -> bool:
        """Return whether a later attempt can succeed, by itself or with another token."""
        if isinstance(error, NoOtherToken) or error.code not in (TOKEN_EXPIRED, TOKEN_REVOKED):
            return error.retriable
        return self.renewable

    async def find(self) -> tuple[Route, str]:
        """Return the route and the token for a new connection.

        If the connect server does not answer, it is the last route, while that is valid. Raises
        `NotReachable`, `Refused`.
        """
        token = await self.token()
        try:
            self._route = await self._ask(token)
        except NotReachable:
            if self._route is None or time.monotonic() > self._valid_until_s:
                raise
            return self._route, token
        except Refused as error:
            self.note(error, token)
            raise
        self._valid_until_s = time.monotonic() + self._route.valid_for_s
        return self._route, token

    async def current(self) -> tuple[Route, str]:
        """Return the route and the token for a query; ask only if the last route has expired."""
        if self._route and time.monotonic() < self._valid_until_s:
            return self._route, await self.token()
        return await self.find()

    def forget(self) -> None:
        """Drop the last route, which led nowhere. The next query asks again."""
        self._valid_until_s = 0.0

    async def _ask(self, token: str) -> Route:
        import httpx

        headers = {"authorization": f"Bearer {token}"}
        try:
            response = await self._http.get(f"{self._url}/v1/connect", headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NotReachable(
                f"the connect server at {self._url} does not answer "
                f"({type(error).__name__}: {error}): is it running, and is the URL right?"
            ) from None
        if response.status_code != OK:
            raise _refused(self._url, response)
        try:
            return _route(response.json())
        except (ValueError, KeyError, TypeError, OverflowError):
            raise NotReachable(
                f"what answers at {self._url} is not a connect server: is the URL right?"
            ) from None

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def _route(answer: dict[str, Any]) -> Route:
    return Route(
        user_id=answer["user_id"],
        partition=answer["partition"],
        server_id=answer["server_id"],
        messaging=answer["messaging"],
        history=answer.get("history"),
        websocket=answer.get("websocket", ""),
        history_http=answer.get("history_http", ""),
        valid_for_s=float(answer["valid_for_s"]),
        backoff=asked_for(answer.get("backoff")),
    )


def _refused(url: str, response: httpx.Response) -> ChatError:
    if response.status_code == NOT_FOUND:
        return NotReachable(f"what answers at {url} is not a connect server: is the URL right?")
    try:
        error = response.json()["error"]
        return Refused(
            error["code"],
            error["message"],
            retriable=error["retriable"],
            retry_after_s=error["retry_after_ms"] / 1_000,
        )
    except (ValueError, KeyError, TypeError, OverflowError):
        return NotReachable(
            f"{url} answered {response.status_code} without a typed error: is it a connect server?"
        )


async def find_route(connect_url: str, token: Token, *, ca_file: Path | None = None) -> Route:
    """Ask the connect server once where a user is served.

    Raises `InvalidArgument`, `NotReachable`, `Refused`.
    """
    check_url(connect_url)
    check_token(token)
    lookup = Lookup(connect_url, token, ca_file)
    try:
        return (await lookup.find())[0]
    finally:
        await lookup.close()
