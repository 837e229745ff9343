"""How a server or a command asks an internal listener."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Protocol

import httpx
from typing_extensions import override

from cecochat.auth.operators import Operators, Scope

log = logging.getLogger(__name__)

ASK_S = 1.0
SERVERS_S = 300.0
"""For so long a server's token holds: each request has a new one, and clocks may differ."""
REFUSED = (401, 403, 421)


class Asking(Protocol):
    """Makes a client, to be closed."""

    def __call__(self, *, timeout_s: float = ASK_S) -> httpx.AsyncClient: ...


class _Bearer(httpx.Auth):
    """Sends a token with each request."""

    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token

    @override
    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response]:
        request.headers["authorization"] = f"Bearer {self._token()}"
        yield request


def asking(
    token: Callable[[], str],
    refused: Callable[[httpx.URL, str], None],
    context: ssl.SSLContext | None,
    *,
    timeout_s: float = ASK_S,
) -> httpx.AsyncClient:
    """A client that goes past any proxy. `refused` is told what a listener says that does not let
    it in, and where. `context`: of who asks, where listeners want a certificate.
    """
    return httpx.AsyncClient(
        timeout=timeout_s,
        trust_env=False,
        verify=context or True,
        auth=_Bearer(token),
        event_hooks={"response": [_looking(refused)]},
    )


def of_server(
    operators: Operators, server_id: str, *scopes: Scope, context: ssl.SSLContext | None = None
) -> Asking:
    """What a server asks others with."""
    token = partial(operators.mint, server_id, scopes, SERVERS_S)
    return partial(asking, token, _warn, context)


def _warn(url: httpx.URL, why: str) -> None:
    log.warning("%s:%s does not let this server in: %s", url.host, url.port, why)


def _looking(
    refused: Callable[[httpx.URL, str], None],
) -> Callable[[httpx.Response], Awaitable[None]]:
    async def look(response: httpx.Response) -> None:
        if response.status_code in REFUSED:
            await response.aread()
            refused(response.request.url, _message(response))

    return look


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {response.status_code}"
