"""Makes the HTTP clients with which servers and commands ask internal listeners."""

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
"""How long a server's token is valid. Each request has a new one, but clocks may differ."""
REFUSED = (401, 403, 421)


class Asking(Protocol):
    """Makes a client, which the caller has to close."""

    def __call__(self, *, timeout_s: float = ASK_S) -> httpx.AsyncClient: ...


class _Bearer(httpx.Auth):
    """Sends a fresh token with each request."""

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
    """Return a client that ignores proxy settings.

    `refused` is called with the URL and the reason if a listener does not let it in. `context` has
    the certificate of whoever asks, if listeners require one.
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
    """Return what makes the clients with which a server asks others."""
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
