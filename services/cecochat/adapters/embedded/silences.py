"""What was told of users who are away, on SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from typing_extensions import override

from cecochat.adapters.embedded.sqlite import Database, execute_all
from cecochat.domain.log.ids import UserId
from cecochat.ports.silences import Silences

FILE = "hooks.db"
SCHEMA = (
    """CREATE TABLE IF NOT EXISTS silences (
        reader TEXT, partition INTEGER, user_id TEXT, value BLOB NOT NULL,
        PRIMARY KEY (reader, partition, user_id)) WITHOUT ROWID""",
)


class EmbeddedSilences(Silences):
    """All of it in the `hooks.db` of a data folder."""

    def __init__(self, database: Database) -> None:
        """Use `open` instead."""
        self._database = database

    @classmethod
    async def open(cls, folder: Path) -> EmbeddedSilences:
        """Open or create the file. Raises `Unusable`, `Unavailable`."""
        database = Database(folder / FILE)
        await database.prepare(partial(execute_all, statements=SCHEMA))
        return cls(database)

    @override
    async def load(self, group: str, partition: int) -> dict[UserId, bytes]:
        return await self._database.read(partial(_load, group, partition))

    @override
    async def store(self, group: str, partition: int, values: Mapping[UserId, bytes]) -> None:
        await self._database.write(partial(_store, group, partition, values))

    @override
    async def close(self) -> None:
        await self._database.close()


def _load(group: str, partition: int, connection: sqlite3.Connection) -> dict[UserId, bytes]:
    select = "SELECT user_id, value FROM silences WHERE reader = ? AND partition = ?"
    return {
        UserId(user_id): value for user_id, value in connection.execute(select, (group, partition))
    }


def _store(
    group: str, partition: int, values: Mapping[UserId, bytes], connection: sqlite3.Connection
) -> None:
    connection.executemany(
        "REPLACE INTO silences VALUES (?, ?, ?, ?)",
        [(group, partition, user_id, value) for user_id, value in values.items()],
    )
