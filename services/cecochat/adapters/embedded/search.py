"""The index of words on SQLite, by its extension FTS5 (sqlite.org/fts5.html)."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from hashlib import blake2b
from heapq import merge
from itertools import count, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Final, NamedTuple

from typing_extensions import override

from cecochat.adapters.embedded.sqlite import PRAGMAS, Database, Rows, Work, execute_all
from cecochat.domain.log.ids import UserId
from cecochat.domain.log.place import Place
from cecochat.domain.search.entries import Entry, Gone, Text, scopes
from cecochat.domain.search.words import Query
from cecochat.ports.history import Progress
from cecochat.ports.search import Found, Search, Superseded, Turn

FILE: Final = "search.db"
SCOPE_BYTES: Final = 8  # of a hash, since a scope has to be one word

PRAGMAS_OF_SEARCH: Final = {
    **PRAGMAS,
    "synchronous": 1,  # NORMAL: rows and progress may be lost with the machine, but together
    "secure_delete": 1,  # what is removed is overwritten
}
SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS texts (
        event_id INTEGER PRIMARY KEY,
        message_id INTEGER NOT NULL,
        chat_id TEXT NOT NULL,
        user_id TEXT NOT NULL,
        scopes TEXT NOT NULL,
        words TEXT NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS edits ON texts (message_id) WHERE event_id <> message_id",
    # The words come divided and folded, so this divides at spaces alone and folds nothing.
    """CREATE VIRTUAL TABLE IF NOT EXISTS postings USING fts5 (
        scopes, words, content = 'texts', content_rowid = 'event_id',
        tokenize = "unicode61 remove_diacritics 0 categories 'L* N* M* S* Co'")""",
    """CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON texts BEGIN
        INSERT INTO postings (rowid, scopes, words)
        VALUES (new.event_id, new.scopes, new.words); END""",
    """CREATE TRIGGER IF NOT EXISTS removed AFTER DELETE ON texts BEGIN
        INSERT INTO postings (postings, rowid, scopes, words)
        VALUES ('delete', old.event_id, old.scopes, old.words); END""",
    """CREATE TABLE IF NOT EXISTS progress (
        log_id TEXT NOT NULL,
        partition INTEGER NOT NULL,
        up_to INTEGER NOT NULL,
        clock_ms INTEGER NOT NULL,
        PRIMARY KEY (log_id, partition)) WITHOUT ROWID""",
)
TEXTS = Rows("INSERT INTO texts", 6, "ON CONFLICT DO NOTHING")
PROGRESS = Rows("INSERT OR REPLACE INTO progress", 4)
GONE = """DELETE FROM texts WHERE (event_id = ?1 OR event_id IN (
    SELECT event_id FROM texts WHERE message_id = ?1 AND event_id <> message_id))
    AND (?2 IS NULL OR user_id = ?2)"""
FORGOTTEN = "DELETE FROM texts WHERE user_id IN (SELECT value FROM json_each(?))"
AUTHORS = """SELECT DISTINCT user_id FROM texts
    WHERE user_id IN (SELECT value FROM json_each(?))"""
MERGED = "INSERT INTO postings (postings) VALUES ('optimize')"
EMPTIED = ("DELETE FROM texts", "DELETE FROM progress", MERGED)
READ_PROGRESS = "SELECT partition, clock_ms, up_to FROM progress WHERE log_id = ?"

MATCHING = """SELECT message_id, chat_id, event_id
    FROM postings JOIN texts ON event_id = postings.rowid WHERE postings MATCH ? AND """
FIRST_TEXTS = f"""{MATCHING} postings.rowid < ? AND postings.rowid > ?
    ORDER BY postings.rowid DESC"""
EDITS = f"{MATCHING} message_id < ? AND message_id > ? ORDER BY message_id DESC"


class _Written(NamedTuple):
    entries: Sequence[Entry]
    progress: Progress | None


class _Writes(Work[_Written, None]):
    @override
    def apply(self, connection: sqlite3.Connection, payloads: Sequence[_Written]) -> Sequence[None]:
        entries = [entry for written in payloads for entry in written.entries]
        for _, some in groupby(entries, type):  # in their order, many in one statement
            alike = list(some)
            TEXTS.write(connection, [_row(each) for each in alike if isinstance(each, Text)])
            connection.executemany(GONE, [each for each in alike if isinstance(each, Gone)])
        places = [each.progress for each in payloads if each.progress]
        PROGRESS.write(connection, places)
        return [None] * len(payloads)


class EmbeddedSearch(Search):
    """The `search.db` of a data folder. SQLite keeps first texts apart from those of edits by their
    scopes, since only the ids of the former are in the order of messages.
    """

    def __init__(self, database: Database) -> None:
        """Use `open` instead."""
        self.database = database
        self._writes = _Writes()
        self._alone = asyncio.Lock()
        self._turns = count(1)
        self._maker: Turn | None = None
        self._followers: dict[tuple[str, int], Turn] = {}

    @classmethod
    async def open(cls, folder: Path) -> EmbeddedSearch:
        """Open or create the file. Raises `Unusable`, `Unavailable`."""
        opened = Database(folder / FILE, PRAGMAS_OF_SEARCH)
        await opened.prepare(lambda connection: execute_all(connection, SCHEMA))
        return cls(opened)

    @override
    def alone(self) -> asyncio.Lock:
        return self._alone

    @override
    async def clear(self) -> Turn:
        self._maker = self._next_turn()
        self._followers.clear()
        await self.database.write(lambda connection: execute_all(connection, EMPTIED))
        return self._maker

    @override
    async def take(self, log_id: str, partition: int) -> tuple[Turn, Place] | None:
        place = (await self.progress(log_id)).get(partition)
        if place is None:
            return None
        turn = self._followers[log_id, partition] = self._next_turn()
        return turn, place

    def _next_turn(self) -> Turn:
        return Turn(next(self._turns))

    @override
    async def write(
        self, entries: Sequence[Entry], progress: Progress | None, turn: Turn | None
    ) -> None:
        if (turn or progress) and turn != self._whose(progress):
            raise Superseded("somebody else writes this part of the index now")
        with self.database.errors():
            await self.database.submit(self._writes, _Written(entries, progress))

    def _whose(self, progress: Progress | None) -> Turn | None:
        """Return whose turn it is. All writers are in this process, since the file is its own."""
        if progress is None:
            return self._maker
        return self._followers.get((progress.log_id, progress.partition), self._maker)

    @override
    async def progress(self, log_id: str) -> dict[int, Place]:
        def read(connection: sqlite3.Connection) -> dict[int, Place]:
            return {p: Place(*at) for p, *at in connection.execute(READ_PROGRESS, (log_id,))}

        return await self.database.read(read)

    @override
    async def find(
        self, query: Query, scopes: Sequence[str], *, before: int, after: int, limit: int
    ) -> list[Found]:
        if not scopes:
            return []
        return await self.database.read(partial(_found, query, scopes, (before, after), limit))

    @override
    async def forget(self, user_ids: Collection[UserId]) -> None:
        def remove(connection: sqlite3.Connection) -> None:
            connection.execute(FORGOTTEN, (json.dumps([*user_ids]),))

        await self.database.write(remove)

    @override
    async def authors(self, among: Collection[UserId]) -> set[UserId]:
        def read(connection: sqlite3.Connection) -> set[UserId]:
            return {user_id for (user_id,) in connection.execute(AUTHORS, (json.dumps([*among]),))}

        return await self.database.read(read)

    @override
    async def purge(self) -> None:
        def merge_all(connection: sqlite3.Connection) -> None:
            connection.execute(MERGED)  # or the index would keep what it is told to leave out

        await self.database.write(merge_all)
        await self.database.empty_wal()

    @override
    async def close(self) -> None:
        await self.database.close()


def _row(text: Text) -> tuple[int | str, ...]:
    is_edit = text.event_id != text.message_id
    within = " ".join(_word(scope, is_edit=is_edit) for scope in scopes(text.chat_id))
    return (*text[:4], within, text.words)


def _word(scope: str, *, is_edit: bool) -> str:
    person = b"edit" if is_edit else b"first"
    return blake2b(scope.encode(), digest_size=SCOPE_BYTES, person=person).hexdigest()


def _match(query: Query, scopes: Iterable[str], *, is_edit: bool) -> str:
    """Return the query in the language of FTS5. It has no quotes in it, as words have none."""
    within = " OR ".join(f'"{_word(scope, is_edit=is_edit)}"' for scope in scopes)
    phrases = " AND ".join(f'"{" ".join(phrase)}"' for phrase in query.phrases)
    return f"scopes : ({within}) AND words : ({phrases}{' *' if query.is_open else ''})"


def _found(
    query: Query,
    scopes: Sequence[str],
    between: tuple[int, int],
    limit: int,
    connection: sqlite3.Connection,
) -> list[Found]:
    first = connection.execute(FIRST_TEXTS, (_match(query, scopes, is_edit=False), *between))
    edits = connection.execute(EDITS, (_match(query, scopes, is_edit=True), *between))
    rows = merge(first, edits, key=itemgetter(0), reverse=True)
    by_message = islice(groupby(rows, itemgetter(0, 1)), limit)
    return [
        Found(message_id, chat_id, tuple(event_id for *_, event_id in same))
        for (message_id, chat_id), same in by_message
    ]
