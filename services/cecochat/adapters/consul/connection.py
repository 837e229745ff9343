"""The client of Consul as it is used here: a deadline for each call, and one error."""

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
    """With a context of ours, and `answer` as the only deadline: py-consul's own session trusts the
    system's authorities too and ends each request after 5 minutes.
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
        self.token = settings.token  # not CONSUL_HTTP_TOKEN, which py-consul would prefer

    def http_connect(self, host: str, port: int, scheme: str, *_: object) -> _Http:
        return _Http(host, port, scheme, self._context)


def client(settings: ConsulSettings) -> Any:
    """Connects with its first call; to be made in the running loop. Raises `InvalidSettings`."""
    host, _, port = settings.address.rpartition(":")
    if not host or not port.isdecimal():
        raise InvalidSettings(f"the address of Consul is {settings.address!r}: use host:port")
    return _Client(settings, host, int(port))


async def answer(
    settings: ConsulSettings, call: Awaitable[Answer], within_s: float = CALL_S
) -> Answer:
    """The answer within the deadline. Raises `Unavailable`."""
    try:
        async with asyncio.timeout(within_s):
            return await call
    except TimeoutError as error:
        raise Unavailable(f"Consul at {settings.address}: no answer in {within_s:g} s") from error
    except (consul.ConsulException, aiohttp.ClientError, OSError) as error:
        raise Unavailable(f"Consul at {settings.address}: {error or repr(error)}") from error


def refused(error: BaseException | None) -> bool:
    """Whether waiting does not help: the token may not do that, or the certificate is not good."""
    return isinstance(
        error,
        consul.ACLPermissionDenied | consul.ACLDisabled | aiohttp.ClientConnectorCertificateError,
    )


class Trouble:
    """Says once that Consul does not answer, and once that it does again."""

    def __init__(self) -> None:
        self._with: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._with)

    def begins(self, what: str, error: Unavailable) -> None:
        """A call for `what` failed."""
        if not self._with:
            log.warning("%s: the servers known last stay in use", error)
        self._with.add(what)

    def ends(self, what: str) -> None:
        """A call for `what` was answered."""
        if what in self._with:
            self._with.remove(what)
            if not self._with:
                log.info("Consul answers again")
