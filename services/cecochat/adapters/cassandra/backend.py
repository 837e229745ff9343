"""The backend on Cassandra or ScyllaDB, which serves all that is stored apart from the log."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cecochat.ports.closing import closing
from cecochat.ports.history import History
from cecochat.ports.keys import Keys
from cecochat.ports.moderation import Moderation
from cecochat.ports.silences import Silences
from cecochat.settings.backends import Backend
from cecochat.settings.settings import Settings
from cecochat.settings.tls import secret
from cecochat.settings.variables import setting

if TYPE_CHECKING:
    from cecochat.adapters.cassandra.settings import CassandraSettings


@dataclass(frozen=True, slots=True)
class CassandraVariables:
    """The settings for Cassandra in the environment."""

    cassandra: str = setting("", "nodes, host:port with commas; empty: the embedded history")
    cassandra_datacenter: str = setting("", "the local datacenter; empty: that of the first node")
    cassandra_consistency: str = setting("LOCAL_QUORUM", "consistency of reads and writes")
    cassandra_tls: bool = setting(False, "connect to Cassandra over TLS")
    cassandra_username: str = setting("", "user; empty: none")
    cassandra_password_file: Path | None = setting(  # noqa: RUF009
        None, "file with its password", needs="cassandra_username"
    )


@asynccontextmanager
async def history(settings: Settings) -> AsyncGenerator[History]:
    """Open the history in Cassandra."""
    from cecochat.adapters.cassandra.history import CassandraHistory

    async with closing(await CassandraHistory.open(_settings(settings))) as opened:
        yield opened


@asynccontextmanager
async def keys(settings: Settings) -> AsyncGenerator[Keys]:
    """Open the keys of users in Cassandra."""
    from cecochat.adapters.cassandra.keys import CassandraKeys

    async with closing(await CassandraKeys.open(_settings(settings))) as opened:
        yield opened


@asynccontextmanager
async def moderation(settings: Settings) -> AsyncGenerator[Moderation]:
    """Open reports, the audit log and blocks in Cassandra."""
    from cecochat.adapters.cassandra.moderation import CassandraModeration

    async with closing(await CassandraModeration.open(_settings(settings))) as opened:
        yield opened


@asynccontextmanager
async def silences(settings: Settings) -> AsyncGenerator[Silences]:
    """Open what was told of users who are away, in Cassandra."""
    from cecochat.adapters.cassandra.silences import CassandraSilences

    async with closing(await CassandraSilences.open(_settings(settings))) as opened:
        yield opened


def _settings(settings: Settings) -> CassandraSettings:
    from cecochat.adapters.cassandra.settings import CassandraSettings

    variables = settings.of(CassandraVariables)
    return CassandraSettings(
        tuple(address.strip() for address in variables.cassandra.split(",")),
        namespace=settings.namespace,
        datacenter=variables.cassandra_datacenter,
        replication_factor=settings.replication,
        consistency=variables.cassandra_consistency,
        accept_loss=settings.accept_loss,
        username=variables.cassandra_username,
        password=secret(variables.cassandra_password_file) or "",
        tls=settings.backends_tls(variables.cassandra_tls),
    )


BACKEND: Final = Backend(
    name="cassandra",
    ports={
        "history": history,
        "keys": keys,
        "moderation": moderation,
        "silences": silences,
    },
    chosen_by="cassandra",
    variables=CassandraVariables,
    shared=True,
    keeps_in="Cassandra",
)
