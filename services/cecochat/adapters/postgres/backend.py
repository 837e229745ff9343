"""The PostgreSQL backend, which serves the index of words that the servers of a cluster share."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cecochat.ports.closing import closing
from cecochat.ports.search import Search
from cecochat.settings.backends import Backend, Finding
from cecochat.settings.settings import Settings
from cecochat.settings.tls import secret
from cecochat.settings.variables import setting

if TYPE_CHECKING:
    from cecochat.adapters.postgres.settings import PostgresSettings


@dataclass(frozen=True, slots=True)
class PostgresVariables:
    """The settings for PostgreSQL in the environment."""

    postgres: str = setting(
        "", "servers, host:port with commas; empty: the embedded search, or in a cluster none"
    )
    postgres_database: str = setting("cecochat", "its database, in UTF-8")
    postgres_tls: bool = setting(False, "connect to PostgreSQL over TLS")
    postgres_username: str = setting("cecochat", "user, who creates a schema in the database")
    postgres_password_file: Path | None = setting(None, "file with its password")  # noqa: RUF009


@asynccontextmanager
async def search(settings: Settings) -> AsyncGenerator[Search]:
    """Open the index of words in PostgreSQL."""
    from cecochat.adapters.postgres.search import PostgresSearch

    async with closing(await PostgresSearch.open(_settings(settings))) as opened:
        yield opened


def examine(settings: Settings) -> Sequence[Finding]:
    """Check whether PostgreSQL answers, and writes no words into its log."""
    if not settings.of(PostgresVariables).postgres:
        return ()
    from cecochat.adapters.postgres import checks

    return checks.all_of(_settings(settings))


def _settings(settings: Settings) -> PostgresSettings:
    from cecochat.adapters.postgres.settings import PostgresSettings

    variables = settings.of(PostgresVariables)
    return PostgresSettings(
        tuple(address.strip() for address in variables.postgres.split(",")),
        namespace=settings.namespace,
        database=variables.postgres_database,
        username=variables.postgres_username,
        password=secret(variables.postgres_password_file),
        tls=settings.backends_tls(variables.postgres_tls),
    )


BACKEND: Final = Backend(
    name="postgres",
    ports={"search": search},
    chosen_by="postgres",
    variables=PostgresVariables,
    shared=True,
    keeps_in="PostgreSQL",
    examine=examine,
)
