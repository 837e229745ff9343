"""The index of words in PostgreSQL, to which several servers write."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Final

import asyncpg  # type: ignore[import-untyped]
from typing_extensions import override

from cecochat.adapters.postgres import connection, matching
from cecochat.adapters.postgres.settings import PostgresSettings
from cecochat.domain.errors import InvalidSettings, Unavailable
from cecochat.domain.log.ids import UserId
from cecochat.domain.log.place import Place
from cecochat.domain.search.entries import Entry, Gone, Text
from cecochat.domain.search.words import Query
from cecochat.ports.history import Progress
from cecochat.ports.search import Found, Search, Superseded, Turn

log = logging.getLogger(__name__)

ALONE_EVERY_S: Final = 0.5
CLEAR_S: Final = 60.0
REWRITE_S: Final = 4 * 3_600.0
"""How long it may take to write all texts again."""

# Each write holds this until it commits. Whoever clears or rewrites all waits for the other, which
# waits for them: so a write sees their turn, and whom they have forgotten.
BEGIN_WRITE: Final = "LOCK TABLE texts IN ROW EXCLUSIVE MODE"
BEGIN_ALONE: Final = "LOCK TABLE texts IN ACCESS EXCLUSIVE MODE"

TRY_ALONE: Final = "SELECT pg_try_advisory_lock($1)"
CLEAR: Final = "TRUNCATE texts; DELETE FROM progress; DELETE FROM removals"
MAKE: Final = """WITH before AS (DELETE FROM maker)
    INSERT INTO maker VALUES (nextval('turns')) RETURNING turn"""
TAKE: Final = """UPDATE progress SET turn = nextval('turns')
    WHERE log_id = $1 AND partition = $2 RETURNING turn, clock_ms, up_to"""

IS_MAKER: Final = "SELECT true FROM maker WHERE turn = $1"
GO_ON: Final = """UPDATE progress SET up_to = $3, clock_ms = $4
    WHERE log_id = $1 AND partition = $2 AND turn = $5 RETURNING true"""
FIRST_PROGRESS: Final = """INSERT INTO progress
    SELECT $1, $2, $3, $4, turn FROM maker WHERE turn = $5
    ON CONFLICT DO NOTHING RETURNING true"""
ADD: Final = """INSERT INTO texts
    SELECT event_id, message_id, chat_id, user_id, words,
        array_to_tsvector(string_to_array(lexemes, ' '))
    FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[])
        AS new (event_id, message_id, chat_id, user_id, words, lexemes)
    WHERE NOT EXISTS (SELECT FROM forgotten WHERE forgotten.user_id = new.user_id)
    ORDER BY message_id, event_id
    ON CONFLICT DO NOTHING"""
REMOVE: Final = """DELETE FROM texts USING unnest($1::bigint[], $2::text[]) AS gone (id, user_id)
    WHERE message_id = id AND (gone.user_id IS NULL OR texts.user_id = gone.user_id)"""
NOTHING_REMOVED: Final = "DELETE 0"
NOTE_REMOVAL: Final = "INSERT INTO removals VALUES (1)"

PROGRESS: Final = "SELECT partition, clock_ms, up_to FROM progress WHERE log_id = $1"
FIND: Final = """WITH found AS MATERIALIZED (
    SELECT message_id, chat_id, event_id FROM texts
    WHERE lexemes @@ $1::text::tsquery AND message_id < $2 AND message_id > $3 AND NOT EXISTS (
        SELECT FROM unnest($4::text[]) AS phrase WHERE strpos(' ' || words || ' ', phrase) = 0))
    SELECT message_id, chat_id, array_agg(event_id) AS event_ids FROM found
    GROUP BY message_id, chat_id ORDER BY message_id DESC LIMIT $5"""
AUTHORS: Final = "SELECT DISTINCT user_id FROM texts WHERE user_id = ANY($1::text[])"

NOTE_FORGOTTEN: Final = """INSERT INTO forgotten SELECT unnest($1::text[])
    ON CONFLICT DO NOTHING"""
FORGET: Final = "DELETE FROM texts WHERE user_id = ANY($1::text[])"
# It writes the live rows and the indexes into new files, and removes the old ones. VACUUM FULL
# would also copy rows that are dead, but that an older transaction might still see.
REWRITE: Final = "ALTER TABLE texts ALTER COLUMN event_id TYPE bigint USING event_id + 0"
REMOVALS: Final = "SELECT EXISTS (SELECT FROM removals)"
REMOVALS_DONE: Final = "DELETE FROM removals"


class PostgresSearch(Search):
    """An index in the schema of a namespace."""

    def __init__(self, settings: PostgresSettings, pool: asyncpg.Pool) -> None:
        """Use `open` instead."""
        self._settings = settings
        self._pool = pool

    @classmethod
    async def open(cls, settings: PostgresSettings) -> PostgresSearch:
        """Connect; if PostgreSQL does not answer, do so later. Raises `InvalidSettings`."""
        pool = await connection.pool(settings)
        try:
            await connection.check(settings, pool)
        except Unavailable as error:
            log.warning("there are no searches until it answers: %s", error)
        except BaseException:
            await connection.close(pool)
            raise
        return cls(settings, pool)

    @override
    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        opened = await connection.single(self._settings)
        try:
            key = connection.lock_key(self._settings, "maker")
            while not await self._fetch(opened, TRY_ALONE, key):  # noqa: ASYNC110
                await asyncio.sleep(ALONE_EVERY_S)
            yield
        finally:
            await connection.close(opened)  # and the lock is free

    async def _fetch(self, opened: asyncpg.Connection, statement: str, *values: object) -> object:
        with connection.errors(self._settings):
            return await opened.fetchval(statement, *values)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection]:
        try:
            with connection.errors(self._settings):
                async with self._pool.acquire(timeout=connection.CALL_S) as opened:
                    yield opened
        except InvalidSettings as error:  # they were right at the start
            raise Unavailable(str(error)) from error

    @asynccontextmanager
    async def _transaction(
        self, begin: str, timeout_s: float = connection.CALL_S
    ) -> AsyncIterator[asyncpg.Connection]:
        async with self._connected() as opened, opened.transaction():
            await opened.execute(begin, timeout=timeout_s)
            yield opened

    @override
    async def clear(self) -> Turn:
        async with self._transaction(BEGIN_ALONE, CLEAR_S) as opened:
            await opened.execute(CLEAR)
            return Turn(await opened.fetchval(MAKE))

    @override
    async def take(self, log_id: str, partition: int) -> tuple[Turn, Place] | None:
        async with self._connected() as opened:
            row = await opened.fetchrow(TAKE, log_id, partition)
        return (Turn(row["turn"]), Place(row["clock_ms"], row["up_to"])) if row else None

    @override
    async def write(
        self, entries: Sequence[Entry], progress: Progress | None, turn: Turn | None
    ) -> None:
        async with self._transaction(BEGIN_WRITE) as opened:
            if (turn or progress) and not await _is_its_turn(opened, progress, turn):
                raise Superseded("another server writes this part of the index now")
            for _, some in groupby(entries, type):
                alike = list(some)
                await _add(opened, [each for each in alike if isinstance(each, Text)])
                await _remove(opened, [each for each in alike if isinstance(each, Gone)])

    @override
    async def progress(self, log_id: str) -> dict[int, Place]:
        async with self._connected() as opened:
            rows = await opened.fetch(PROGRESS, log_id)
        return {partition: Place(*at) for partition, *at in rows}

    @override
    async def find(
        self, query: Query, scopes: Sequence[str], *, before: int, after: int, limit: int
    ) -> list[Found]:
        if not scopes:
            return []
        wanted = matching.tsquery(query, scopes), before, after, matching.phrases(query), limit
        async with self._connected() as opened:
            rows = await opened.fetch(FIND, *wanted)
        return [Found(id_, chat_id, tuple(event_ids)) for id_, chat_id, event_ids in rows]

    @override
    async def forget(self, user_ids: Collection[UserId]) -> None:
        users = list(user_ids)
        async with self._transaction(BEGIN_ALONE, REWRITE_S) as opened:
            await opened.execute(NOTE_FORGOTTEN, users)
            if await opened.execute(FORGET, users, timeout=REWRITE_S) != NOTHING_REMOVED:
                await opened.execute(NOTE_REMOVAL)

    @override
    async def authors(self, among: Collection[UserId]) -> set[UserId]:
        async with self._connected() as opened:
            rows = await opened.fetch(AUTHORS, list(among))
        return {UserId(user_id) for (user_id,) in rows}

    @override
    async def purge(self) -> None:
        async with self._connected() as opened:
            if not await opened.fetchval(REMOVALS):
                return
        async with self._transaction(BEGIN_ALONE, REWRITE_S) as opened:
            if await opened.fetchval(REMOVALS):  # another server may have done it meanwhile
                await _rewrite(opened)

    @override
    async def close(self) -> None:
        await connection.close(self._pool)


async def _is_its_turn(
    opened: asyncpg.Connection, progress: Progress | None, turn: Turn | None
) -> bool:
    """Return whether a turn is not over, and store the progress."""
    if progress is None:
        return bool(await opened.fetchval(IS_MAKER, turn))
    values = *progress, turn
    return bool(
        await opened.fetchval(GO_ON, *values) or await opened.fetchval(FIRST_PROGRESS, *values)
    )


async def _add(opened: asyncpg.Connection, texts: Sequence[Text]) -> None:
    if texts:
        columns = zip(*((*each, matching.lexemes(each)) for each in texts), strict=True)
        await opened.execute(ADD, *map(list, columns))


async def _remove(opened: asyncpg.Connection, gone: Sequence[Gone]) -> None:
    if gone:
        columns = zip(*gone, strict=True)
        if await opened.execute(REMOVE, *map(list, columns)) != NOTHING_REMOVED:
            await opened.execute(NOTE_REMOVAL)


async def _rewrite(opened: asyncpg.Connection) -> None:
    await opened.execute(REWRITE, timeout=REWRITE_S)
    await opened.execute(REMOVALS_DONE)
