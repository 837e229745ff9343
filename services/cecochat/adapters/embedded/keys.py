"""The keys of users on SQLite. Several processes may use the same file at once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncGenerator, Collection, Sequence
from functools import partial
from pathlib import Path

from typing_extensions import override

from cecochat.adapters.embedded.backplane import FILE as LOG_FILE
from cecochat.adapters.embedded.sqlite import PRAGMAS, Database, execute_all
from cecochat.domain.log.ids import UserId
from cecochat.ports.keys import Erased, Keys

FILE = "keys.db"
DESTROYED = b""
CHECK = "check"

PRAGMAS_OF_KEYS = {**PRAGMAS, "secure_delete": 1}  # what is replaced is overwritten
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS keys (user_id TEXT PRIMARY KEY, key BLOB NOT NULL) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS erased (
        user_id TEXT PRIMARY KEY, at_ms INTEGER NOT NULL, by TEXT NOT NULL) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
)
USERS_AT_ONCE = 500
USERS = "SELECT user_id FROM keys WHERE user_id > ? AND user_id < ? ORDER BY user_id LIMIT ?"
SELECT = "SELECT user_id, key FROM keys WHERE user_id IN (SELECT value FROM json_each(?))"


class EmbeddedKeys(Keys):
    """All keys in the `keys.db` of a data folder."""

    def __init__(self, database: Database, is_new: bool) -> None:
        """Use `open` instead."""
        self.database = database
        self.is_new = is_new

    @classmethod
    async def open(cls, folder: Path) -> EmbeddedKeys:
        """Open or create the file. Raises `Unusable`, `Unavailable`."""
        is_new = not (folder / LOG_FILE).exists()
        database = Database(folder / FILE, PRAGMAS_OF_KEYS)
        await database.prepare(partial(execute_all, statements=SCHEMA))
        return cls(database, is_new)

    @override
    async def get(self, user_ids: Collection[UserId]) -> dict[UserId, bytes | None]:
        return await self.database.read(partial(_get, user_ids))

    @override
    async def create(self, user_id: UserId, key: bytes) -> bytes | None:
        return await self.database.write(partial(_create, user_id, key))

    @override
    async def destroy(self, *erased: Erased) -> None:
        """When this returns, no file of the store has the keys' bytes."""
        await self.database.write(partial(_destroy, erased))
        await self.database.empty_wal()

    @override
    async def erased(self) -> list[Erased]:
        return await self.database.read(_erased)

    @override
    async def users(self, app: str) -> AsyncGenerator[list[UserId]]:
        page = [UserId(f"{app}/")]  # which is no user
        while page := await self.database.read(partial(_users, app, page[-1])):
            yield page

    @override
    async def seals(self) -> str:
        return await self.database.read(_check)

    @override
    async def start_sealing(self, check: str) -> str:
        return await self.database.write(partial(_start_sealing, check))

    @override
    async def close(self) -> None:
        await self.database.close()


def _get(
    user_ids: Collection[UserId], connection: sqlite3.Connection
) -> dict[UserId, bytes | None]:
    rows = connection.execute(SELECT, (json.dumps([*user_ids]),))
    return {UserId(user_id): key or None for user_id, key in rows}


def _create(user_id: UserId, key: bytes, connection: sqlite3.Connection) -> bytes | None:
    connection.execute("INSERT OR IGNORE INTO keys VALUES (?, ?)", (user_id, key))
    return _get([user_id], connection)[user_id]


def _destroy(erased: Sequence[Erased], connection: sqlite3.Connection) -> None:
    destroyed = [(each.user_id, DESTROYED) for each in erased]
    connection.executemany("REPLACE INTO keys VALUES (?, ?)", destroyed)
    connection.executemany("INSERT OR IGNORE INTO erased VALUES (?, ?, ?)", erased)


def _erased(connection: sqlite3.Connection) -> list[Erased]:
    return [Erased(*row) for row in connection.execute("SELECT * FROM erased ORDER BY user_id")]


def _users(app: str, after: UserId, connection: sqlite3.Connection) -> list[UserId]:
    above_all = f"{app}0"  # 0 comes after the slash
    return [UserId(row[0]) for row in connection.execute(USERS, (after, above_all, USERS_AT_ONCE))]


def _check(connection: sqlite3.Connection) -> str:
    row = connection.execute("SELECT value FROM facts WHERE name = ?", (CHECK,)).fetchone()
    return str(row[0]) if row else ""


def _start_sealing(check: str, connection: sqlite3.Connection) -> str:
    connection.execute("INSERT OR IGNORE INTO facts VALUES (?, ?)", (CHECK, check))
    return _check(connection)
