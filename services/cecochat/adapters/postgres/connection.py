"""Connections to PostgreSQL: each call has a deadline, and every failure is `Unavailable`."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from typing import Any, Final

import asyncpg  # type: ignore[import-untyped]

from cecochat.adapters.postgres import schema
from cecochat.adapters.postgres.settings import PostgresSettings
from cecochat.domain.errors import InvalidSettings, Unavailable

CONNECT_S: Final = 5.0
CALL_S: Final = 10.0
CLOSE_S: Final = 5.0
POOL_MAX: Final = 8
ENCODING: Final = "UTF8"

SESSION: Final = {
    "application_name": "cecochat",
    # How many texts a query finds differs from one to the next by thousands.
    "plan_cache_mode": "force_custom_plan",
    # What somebody holds who is gone is free after half a minute.
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
ERRORS: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the connection ends just now, or no server takes writes
    OSError,
    TimeoutError,
)
WRONG_SETTINGS: Final = {
    asyncpg.InvalidAuthorizationSpecificationError: "check the username and the password file",
    asyncpg.InvalidCatalogNameError: "create the database, or name another one",
    asyncpg.InsufficientPrivilegeError: "let this user create a schema in the database",
    ssl.SSLCertVerificationError: "check the CA file, and the names in its certificate",
}


@contextmanager
def errors(settings: PostgresSettings) -> Iterator[None]:
    """Raise what PostgreSQL and the network raise as `Unavailable`."""
    try:
        yield
    except ERRORS as error:
        reason = str(error) or f"there was no answer within {CALL_S:g} s"
        where = ",".join(settings.addresses)
        raise Unavailable(f"PostgreSQL at {where}: {reason}") from error


async def pool(settings: PostgresSettings) -> asyncpg.Pool:
    """Return a pool, which connects when it is used. Each new connection creates the tables if they
    are missing. Raises `InvalidSettings`.
    """
    return await asyncpg.create_pool(
        **_named(settings),
        min_size=0,
        max_size=POOL_MAX,
        command_timeout=CALL_S,
        init=partial(_prepare, settings=settings),
    )


async def check(settings: PostgresSettings, opened: asyncpg.Pool) -> None:
    """Connect. Raises `Unavailable`; `InvalidSettings` if waiting does not help."""
    try:
        with errors(settings):
            async with opened.acquire(timeout=CALL_S):
                pass
    except Unavailable as error:
        if mend := _mend(error.__cause__):
            raise InvalidSettings(f"{error}: {mend}") from error
        raise


async def single(settings: PostgresSettings) -> asyncpg.Connection:
    """Open one more connection, for a lock that is held with it. Raises `Unavailable`."""
    with errors(settings):
        return await asyncpg.connect(**_named(settings), command_timeout=CALL_S)


async def close(opened: asyncpg.Pool | asyncpg.Connection) -> None:
    """Close what `pool` or `single` has opened, whatever state it is in."""
    try:
        async with asyncio.timeout(CLOSE_S):
            await opened.close()
    except ERRORS:
        opened.terminate()


def lock_key(settings: PostgresSettings, what: str) -> int:
    """Return the number of an advisory lock of this namespace."""
    name = f"{what} {settings.namespace}".encode()
    return int.from_bytes(blake2b(name, digest_size=8).digest(), "big", signed=True)


async def _prepare(connection: asyncpg.Connection, settings: PostgresSettings) -> None:
    if (encoding := connection.get_settings().server_encoding) != ENCODING:
        raise InvalidSettings(
            f"the database {settings.database} is in {encoding}: create it with ENCODING 'UTF8'"
        )
    if await connection.fetchval(schema.MADE, settings.namespace):
        return
    async with connection.transaction():
        await connection.execute(schema.ONE_AT_A_TIME, lock_key(settings, "tables"))
        if not await connection.fetchval(schema.MADE, settings.namespace):
            await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {_quoted(settings.namespace)}")
            await connection.execute(schema.TABLES)


def _named(settings: PostgresSettings) -> dict[str, Any]:
    pairs = [address.strip().rpartition(":") for address in settings.addresses]
    if wrong := [host for host, _, port in pairs if not host or not port.isdecimal()]:
        raise InvalidSettings(f"the address of PostgreSQL is {wrong[0]!r}: use host:port")
    return {
        "host": [host.strip("[]") for host, _, _ in pairs],
        "port": [int(port) for _, _, port in pairs],
        "database": settings.database,
        "user": settings.username,
        "password": settings.password,
        "ssl": settings.tls.client() if settings.tls else False,
        "timeout": CONNECT_S,
        "target_session_attrs": "read-write",
        "server_settings": {**SESSION, "search_path": _quoted(settings.namespace)},
    }


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _mend(error: BaseException | None) -> str | None:
    """Return what a person should do; None if the error is not about settings."""
    while error is not None:
        for kind, mend in WRONG_SETTINGS.items():
            if isinstance(error, kind):
                return mend
        error = error.__cause__ or error.__context__
    return None
