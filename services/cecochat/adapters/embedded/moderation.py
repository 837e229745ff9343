"""Reports, the audit log and blocks on SQLite. Several processes may use the same file at once."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import Any

from typing_extensions import override

from cecochat.adapters.embedded.sqlite import PRAGMAS, Database, execute_all
from cecochat.domain.log.ids import UserId
from cecochat.domain.moderation.acts import Act
from cecochat.domain.moderation.reports import Report, State, act_of
from cecochat.ports.moderation import (
    BLOCKERS_MAX,
    Acts,
    Block,
    Blockers,
    Blocks,
    Forgotten,
    Moderation,
    Paged,
    Reports,
    report_of,
    row_of,
)

FILE = "moderation.db"

PRAGMAS_OF_MODERATION = {**PRAGMAS, "secure_delete": 1}  # what is replaced is overwritten
SCHEMA = (
    """CREATE TABLE IF NOT EXISTS reports (
        id TEXT PRIMARY KEY, reporter_id TEXT NOT NULL, user_id TEXT NOT NULL,
        chat_id TEXT NOT NULL, message_id INTEGER NOT NULL, reason TEXT NOT NULL,
        text BLOB NOT NULL, at_ms INTEGER NOT NULL, state TEXT NOT NULL, moderator TEXT NOT NULL,
        via TEXT NOT NULL, changed_at_ms INTEGER NOT NULL, decision TEXT NOT NULL,
        note TEXT NOT NULL, version INTEGER NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS reports_by_state ON reports (state, at_ms, id)",
    "CREATE INDEX IF NOT EXISTS reports_by_reporter ON reports (reporter_id, id)",
    """CREATE TABLE IF NOT EXISTS acts (
        id TEXT PRIMARY KEY, at_ms INTEGER NOT NULL, by TEXT NOT NULL, via TEXT NOT NULL,
        what TEXT NOT NULL, detail TEXT NOT NULL, reason TEXT NOT NULL, user_id TEXT NOT NULL,
        chat_id TEXT NOT NULL, message_id INTEGER NOT NULL, report_id TEXT NOT NULL)
        WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS blocks (
        user_id TEXT NOT NULL, blocked_id TEXT NOT NULL, at_ms INTEGER NOT NULL,
        PRIMARY KEY (user_id, blocked_id)) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS blocks_by_blocked ON blocks (blocked_id, user_id)",
)
PUT = "INSERT OR IGNORE INTO reports VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
REPLACE = "REPLACE INTO reports VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
GET = "SELECT * FROM reports WHERE id = ?"
PAGE = """SELECT * FROM reports WHERE state = ? AND (at_ms, id) > (?, ?)
    ORDER BY at_ms, id LIMIT ?"""
OF_REPORTER = "SELECT * FROM reports WHERE reporter_id = ? ORDER BY id"
APPEND = "INSERT OR IGNORE INTO acts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
ACTS = "SELECT * FROM acts WHERE ?1 = '' OR id < ?1 ORDER BY id DESC LIMIT ?2"
BLOCK = "INSERT OR IGNORE INTO blocks VALUES (?, ?, ?)"
UNBLOCK = "DELETE FROM blocks WHERE user_id = ? AND blocked_id = ?"
HAS = "SELECT 1 FROM blocks WHERE user_id = ? AND blocked_id = ?"
OF_USER = "SELECT * FROM blocks WHERE user_id = ? AND blocked_id > ? ORDER BY blocked_id LIMIT ?"
OF_BLOCKED = "SELECT user_id FROM blocks WHERE blocked_id = ? LIMIT ?"
FORGET_TEXTS = "UPDATE reports SET text = x'' WHERE reporter_id = ? AND text != x''"
FORGET_BLOCKS = "DELETE FROM blocks WHERE user_id = ?"


class EmbeddedReports(Reports):
    """Reports in a database that somebody else opens and closes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @override
    async def put(self, report: Report) -> Report:
        return await self._database.write(partial(_put, report))

    @override
    async def get(self, report_id: str) -> Report | None:
        return await self._database.read(partial(_get, report_id))

    @override
    async def change(self, report: Report) -> Report | None:
        return await self._database.write(partial(_change, report))

    @override
    async def page(self, state: State, *, after: str, limit: int) -> Paged[Report]:
        return await self._database.read(partial(_page, state, after, limit))

    @override
    async def of_reporter(self, user_id: UserId) -> list[Report]:
        rows = await self._database.read(partial(_rows, OF_REPORTER, user_id))
        return [report_of(row) for row in rows]


class EmbeddedActs(Acts):
    """The audit log in a database that somebody else opens and closes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @override
    async def append(self, act: Act) -> None:
        await self._database.write(partial(_rows, APPEND, *act))

    @override
    async def page(self, *, before: str, limit: int) -> Paged[Act]:
        rows = await self._database.read(partial(_rows, ACTS, before, limit + 1))
        return Paged([Act(*row) for row in rows[:limit]], len(rows) > limit)


class EmbeddedBlocks(Blocks):
    """Blocks in a database that somebody else opens and closes."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @override
    async def put(self, block: Block) -> None:
        await self._database.write(partial(_rows, BLOCK, *block))

    @override
    async def remove(self, user_id: UserId, blocked_id: UserId) -> None:
        await self._database.write(partial(_rows, UNBLOCK, user_id, blocked_id))

    @override
    async def has(self, user_id: UserId, blocked_id: UserId) -> bool:
        return bool(await self._database.read(partial(_rows, HAS, user_id, blocked_id)))

    @override
    async def of(self, user_id: UserId, *, after: str, limit: int) -> Paged[Block]:
        rows = await self._database.read(partial(_rows, OF_USER, user_id, after, limit + 1))
        return Paged([Block(*row) for row in rows[:limit]], len(rows) > limit)

    @override
    async def blockers_of(self, user_id: UserId) -> Blockers:
        rows = await self._database.read(partial(_rows, OF_BLOCKED, user_id, BLOCKERS_MAX + 1))
        found = frozenset(blocker for (blocker,) in rows[:BLOCKERS_MAX])
        return Blockers(found, len(rows) <= BLOCKERS_MAX)


class EmbeddedModeration(Moderation):
    """All of it in the `moderation.db` of a data folder."""

    def __init__(self, database: Database) -> None:
        """Use `open` instead."""
        self._database = database
        self.reports = EmbeddedReports(database)
        self.acts = EmbeddedActs(database)
        self.blocks = EmbeddedBlocks(database)

    @classmethod
    async def open(cls, folder: Path) -> EmbeddedModeration:
        """Open or create the file. Raises `Unusable`, `Unavailable`."""
        database = Database(folder / FILE, PRAGMAS_OF_MODERATION)
        await database.prepare(partial(execute_all, statements=SCHEMA))
        return cls(database)

    @override
    async def forget(self, user_ids: Collection[UserId]) -> Forgotten:
        """When this returns, no file of the store has what it removed."""
        forgotten = await self._database.write(partial(_forget, user_ids))
        await self._database.empty_wal()
        return forgotten

    @override
    async def close(self) -> None:
        await self._database.close()


def _rows(statement: str, *values: Any) -> list[Any]:
    *parameters, connection = values
    return list(connection.execute(statement, parameters))


def _put(report: Report, connection: sqlite3.Connection) -> Report:
    connection.execute(PUT, row_of(report))
    stands = _get(report.id, connection)
    assert stands
    return stands


def _get(report_id: str, connection: sqlite3.Connection) -> Report | None:
    row = connection.execute(GET, (report_id,)).fetchone()
    return report_of(row) if row else None


def _change(report: Report, connection: sqlite3.Connection) -> Report | None:
    before = _get(report.id, connection)
    if before is None or report.version != before.version + 1:
        return before
    connection.execute(REPLACE, row_of(report._replace(text=before.text)))
    connection.execute(APPEND, act_of(report))
    return _get(report.id, connection)


def _page(state: State, after: str, limit: int, connection: sqlite3.Connection) -> Paged[Report]:
    last = _get(after, connection) if after else None
    place = (last.at_ms, last.id) if last else (0, "")
    rows = connection.execute(PAGE, (state, *place, limit + 1)).fetchall()
    return Paged([report_of(row) for row in rows[:limit]], len(rows) > limit)


def _forget(user_ids: Collection[UserId], connection: sqlite3.Connection) -> Forgotten:
    users = [(user_id,) for user_id in user_ids]
    texts = connection.executemany(FORGET_TEXTS, users).rowcount
    return Forgotten(texts, connection.executemany(FORGET_BLOCKS, users).rowcount)
