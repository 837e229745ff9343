"""The client of Consul: each call has a deadline, and every failure is `Unavailable`."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable
from typing import Any, TypeVar

import aiohttp
import consul.aio  # type: ignore[import-untyped]

from cecochat.adapters.consul.settings import ConsulSettings
from cecochat.domain.errors import InvalidSettings, Unavailable

log = logging.getLogger(__name__)

CALL_S = 5.0

Answer = TypeVar("Answer")


class _Http(consul.aio.HTTPClient):  # type: ignore[misc]
    """An HTTP client with our own TLS context, and without a deadline, which `answer` has.
    py-consul's own session also trusts the system's authorities, and ends each request after 5
    minutes.
    """

    def __init__(self, host: str, port: int, scheme: str, context: ssl.SSLContext | None) -> None:
        consul.base.HTTPClient.__init__(self, host, port, scheme)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context or True),
            timeout=aiohttp.ClientTimeout(total=None),
        )


class _Client(consul.aio.Consul):  # type: ignore[misc]
    def __init__(self, settings: ConsulSettings, host: str, port: int) -> None:
        self._context = settings.tls.client() if settings.tls else None
        super().__init__(host=host, port=port, scheme="https" if settings.tls else "http")
        self.token = settings.token  # else py-consul uses CONSUL_HTTP_TOKEN

    def http_connect(self, host: str, port: int, scheme: str, *_: object) -> _Http:
        return _Http(host, port, scheme, self._context)


def client(settings: ConsulSettings) -> Any:
    """Make a client, in the running event loop. It connects with its first call. Raises
    `InvalidSettings`.
    """
    host, _, port = settings.address.rpartition(":")
    if not host or not port.isdecimal():
        raise InvalidSettings(f"the address of Consul is {settings.address!r}: use host:port")
    return _Client(settings, host, int(port))


async def answer(
    settings: ConsulSettings, call: Awaitable[Answer], within_s: float = CALL_S
) -> Answer:
    """Wait for the answer to a call. Raises `Unavailable` on failure, or after the deadline."""
    try:
        async with asyncio.timeout(within_s):
            return await call
    except TimeoutError as error:
        raise Unavailable(
            f"Consul at {settings.address} did not answer within {within_s:g} s"
        ) from error
    except (consul.ConsulException, aiohttp.ClientError, OSError) as error:
        raise Unavailable(f"Consul at {settings.address}: {error or repr(error)}") from error


def refused(error: BaseException | None) -> bool:
    """Return whether waiting does not help: the token does not allow the call, or the certificate
    of Consul is not trusted.
    """
    return isinstance(
        error,
        consul.ACLPermissionDenied | consul.ACLDisabled | aiohttp.ClientConnectorCertificateError,
    )


class OutageLog:
    """Logs once that Consul does not answer, and once that it answers again. It is true while some
    calls fail.
    """

    def __init__(self) -> None:
        self._failing: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._failing)

    def begins(self, purpose: str, error: Unavailable) -> None:
        """Note that a call for this purpose failed."""
        if not self._failing:
            log.warning("%s: the servers that were live stay in use until it answers", error)
        self._failing.add(purpose)

    def ends(self, purpose: str) -> None:
        """Note that a call for this purpose was answered."""
        if purpose in self._failing:
            self._failing.remove(purpose)
            if not self._failing:
                log.info("Consul answers again")
