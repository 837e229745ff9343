"""The client of Redis as it is used here: a deadline for each call, and one error."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable
from typing import Any, TypeVar

from redis.asyncio import ConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError

from cecochat.adapters.redis.settings import RedisSettings
from cecochat.domain.errors import InvalidSettings, Unavailable

TIMEOUT_S = 5.0  # of each call, connecting included

Answer = TypeVar("Answer")


class _TlsConnection(SSLConnection):
    """With a context of ours: the one redis-py makes trusts the system's authorities too."""

    def __init__(self, *, context: ssl.SSLContext, **named: Any) -> None:
        super().__init__(**named)
        self.ssl_context.context = context


def client(settings: RedisSettings) -> Redis:
    """Connects with its first call. Raises `InvalidSettings`."""
    host, _, port = settings.address.rpartition(":")
    if not host or not port.isdecimal():
        raise InvalidSettings(f"the address of Redis is {settings.address!r}: use host:port")
    named: dict[str, Any] = {
        "host": host.strip("[]"),
        "port": int(port),
        "username": settings.username,
        "password": settings.password,
        "socket_connect_timeout": TIMEOUT_S,
        "socket_timeout": None,  # `answer` is the deadline
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),  # a write is not repeated behind its caller's back
        "protocol": 2,
    }
    if settings.tls:
        named |= {"connection_class": _TlsConnection, "context": settings.tls.client()}
    return Redis.from_pool(ConnectionPool(**named))


async def answer(settings: RedisSettings, call: Awaitable[Answer]) -> Answer:
    """The answer within the deadline. Raises `Unavailable`.

    A call that is cancelled, by the deadline or from outside, costs its connection: redis-py closes
    it, as what it still had to read would be taken for the answer to the next call.
    """
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await call
    except (RedisError, OSError, TimeoutError) as error:
        why = str(error) or f"no answer within {TIMEOUT_S:g} s"
        raise Unavailable(f"Redis at {settings.address}: {why}") from error


async def check(settings: RedisSettings, redis: Redis) -> None:
    """Whether it answers us. Raises `Unavailable`, or `InvalidSettings` where waiting does not
    help: Redis refuses who we are, or is not whom we trust.
    """
    try:
        await answer(settings, redis.ping())
    except Unavailable as error:
        if what := _wrong(error.__cause__):
            raise InvalidSettings(f"{error}: see {what}") from error
        raise


def _wrong(error: BaseException | None) -> str | None:
    """The setting to look at."""
    while error is not None:
        if isinstance(error, AuthenticationError):
            return "the username and the password for Redis"
        if isinstance(error, ssl.SSLCertVerificationError):
            return "the CA file, and the names in the certificate of Redis"
        error = error.__cause__ or error.__context__
    return None
