"""The configuration on SQLite. Several processes may use the same file at once."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from typing_extensions import override

from cecochat.adapters.embedded.sqlite import Database, execute_all
from cecochat.domain.cluster.versions import Rank
from cecochat.domain.errors import Conflict, Unavailable
from cecochat.ports.configuration import Configuration, Document

FILE = "configuration.db"
VERSIONS_KEPT = 100
POLL_S = 0.25

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS versions (
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        value TEXT NOT NULL,
        changed_at_ms INTEGER NOT NULL,
        changed_by TEXT NOT NULL,
        PRIMARY KEY (name, version)) WITHOUT ROWID""",
)
NEWEST = """SELECT name, version, value, changed_at_ms, changed_by FROM versions
    WHERE name = ? ORDER BY version DESC LIMIT ?"""


class EmbeddedConfiguration(Configuration):
    """All documents in the `configuration.db` of a data folder. The last 100 versions are kept."""

    system = "sqlite"

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        """Use `open` instead."""
        self._database = database
        self._clock = clock
        self._watchers: set[asyncio.Event] = set()
        self._closed = False

    @classmethod
    async def open(
        cls, folder: Path, *, clock: Callable[[], float] = time.time
    ) -> EmbeddedConfiguration:
        """Open or create the file. Raises `Unusable`, `Unavailable`."""
        database = Database(folder / FILE)
        await database.prepare(partial(execute_all, statements=SCHEMA))
        return cls(database, clock)

    @override
    async def get(self, name: str) -> Document:
        newest = await self._database.read(partial(_past, name, 1))
        return newest[0] if newest else Document(name, 0, {}, 0, "")

    @override
    async def put(self, name: str, value: Mapping[str, Any], *, expected: int, by: str) -> Document:
        document = Document(
            name, expected + 1, json.loads(json.dumps(value)), int(self._clock() * 1_000), by
        )
        await self._database.write(partial(_put, document))
        self._wake()
        return document

    @override
    async def restore(self, document: Document) -> bool:
        if stored := await self._database.write(partial(_restore, document)):
            self._wake()
        return stored

    @override
    async def past(self, name: str, limit: int = 20) -> list[Document]:
        return await self._database.read(partial(_past, name, limit))

    @override
    async def watch(self, name: str) -> AsyncGenerator[Document]:
        changed = asyncio.Event()
        self._watchers.add(changed)
        seen: Rank | None = None
        try:
            while not self._closed:
                changed.clear()
                document = await self.get(name)
                if document.rank != seen:
                    seen = document.rank
                    yield document
                with suppress(TimeoutError):  # then look whether another process has changed it
                    async with asyncio.timeout(POLL_S):
                        await changed.wait()
            raise Unavailable("the configuration was closed")
        finally:
            self._watchers.discard(changed)

    @override
    async def close(self) -> None:
        self._closed = True
        self._wake()
        await self._database.close()

    def _wake(self) -> None:
        for watcher in self._watchers:
            watcher.set()


def _past(name: str, limit: int, connection: sqlite3.Connection) -> list[Document]:
    return [
        Document(name, version, _value(value), changed_at_ms, by)
        for name, version, value, changed_at_ms, by in connection.execute(NEWEST, (name, limit))
    ]


def _value(text: str) -> Any:
    """Return the value, parsed. Text that is no JSON is returned as it is: readers refuse it, and
    keep the version that they have.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _put(document: Document, connection: sqlite3.Connection) -> None:
    current = _version(document.name, connection)
    if document.version != current + 1:
        raise Conflict(
            f"{document.name} is at version {current}, not {document.version - 1}: "
            "read it again, decide again, and put again"
        )
    _insert(document, connection)


def _restore(document: Document, connection: sqlite3.Connection) -> bool:
    if document.version <= _version(document.name, connection):
        return False
    _insert(document, connection)
    return True


def _version(name: str, connection: sqlite3.Connection) -> int:
    newest = _past(name, 1, connection)
    return newest[0].version if newest else 0


def _insert(document: Document, connection: sqlite3.Connection) -> None:
    name, version, value, changed_at_ms, by = document
    row = (name, version, json.dumps(value, allow_nan=False), changed_at_ms, by)
    connection.execute("INSERT INTO versions VALUES (?, ?, ?, ?, ?)", row)
    connection.execute(
        "DELETE FROM versions WHERE name = ? AND version <= ?", (name, version - VERSIONS_KEPT)
    )
