"""What ports/history.py promises of holes, and of rows that are refused, of every adapter."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cassandra.query import SimpleStatement  # type: ignore[import-untyped]
from typing_extensions import override

from cecochat.adapters.cassandra.database import Database
from cecochat.adapters.cassandra.history import CassandraHistory
from cecochat.adapters.cassandra.settings import CassandraSettings
from cecochat.adapters.embedded import sqlite as embedded
from cecochat.adapters.embedded.history import EmbeddedHistory
from cecochat.domain.errors import Unavailable
from cecochat.domain.log.ids import ChatId, UserId, message_id
from cecochat.domain.log.place import Place
from cecochat.ports.history import History, Hole, MarkRow, MessageRow, Progress, RowsRefused
from cecochat.servers.materialize.comparing import Expected, find_missing
from scripts.backends import cassandra as cassandra_kind
from scripts.backends.launch import Backend
from scripts.backends.ports import free
from tests.contract.conftest import OpenHistory
from tests.contract.openers.cassandra import drop_keyspace
from tests.contract.private import Private
from tests.contract.test_history import dialog, events, message, users, worlds
from tests.support.backends import Backends

ROW_BYTES_MAX = 60_000


def log() -> str:
    return f"log {next(worlds)}"


def hole(log_id: str, first_offset: int, chat: str = "") -> Hole:
    return Hole(
        log_id, 3, first_offset, 19, 100, 200, ChatId(chat), "trimmed", "dropped: ½ of it", 77
    )


async def of(history: History, log_id: str) -> list[Hole]:
    return [each for each in await history.holes() if each.log_id == log_id]


async def test_holes_are_kept_with_what_is_written(open_history: OpenHistory) -> None:
    history, log_id, chat = await open_history(), log(), dialog()
    assert await of(history, log_id) == []
    holes = [hole(log_id, 10), hole(log_id, 12, chat)]
    await history.write([message(1, chat)], [], Progress(log_id, 3, 19), holes[1:])
    await history.write([], [], Progress(log_id, 3, 20), holes[:1])
    assert await of(history, log_id) == holes
    assert await history.progress(log_id) == {3: Place(0, 20)}
    await history.close()
    assert await of(await open_history(), log_id) == holes


async def test_one_that_is_acknowledged_stays_so(history: History) -> None:
    log_id, by = log(), "anna"
    first, second = hole(log_id, 10), hole(log_id, 11)
    await history.write([], [], None, [first, second])
    await history.acknowledge(first, by, 88)
    known = first._replace(acknowledged_at_ms=88, acknowledged_by=by)
    assert await of(history, log_id) == [known, second]
    await history.write([], [], None, [first._replace(last_id=300, found_at_ms=99)])
    assert await of(history, log_id) == [known._replace(last_id=300, found_at_ms=99), second]
    assert await history.progress(log_id) == {}


async def test_one_that_has_grown_is_not_acknowledged(history: History) -> None:
    """Whoever knew of the first offsets knows nothing of those that came to them."""
    log_id = log()
    first = hole(log_id, 10)
    grown = first._replace(last_offset=299, last_id=900, text="dropped: more of it")
    await history.write([], [], None, [first])
    await history.acknowledge(first, "anna", 88)
    known = first._replace(acknowledged_at_ms=88, acknowledged_by="anna")
    await history.write([], [], None, [grown])
    assert await of(history, log_id) == [known, grown]
    await history.close_hole(grown)
    assert await of(history, log_id) == [known]


async def test_two_messages_that_had_one_offset_are_two_holes(history: History) -> None:
    """As after a log has lost its end, which gives its offsets again."""
    log_id, chat = log(), dialog()
    first = Hole(log_id, 3, 91, 91, 100, 100, chat, "refused", "too large", 7)
    second = first._replace(first_id=200, last_id=200)
    await history.write([], [], None, [first])
    await history.write([], [], None, [second])
    await history.acknowledge(first, "anna", 88)
    known = first._replace(acknowledged_at_ms=88, acknowledged_by="anna")
    assert await of(history, log_id) == [known, second]


async def test_one_that_is_closed_is_gone_until_it_is_found_again(history: History) -> None:
    log_id = log()
    first, other = hole(log_id, 10), hole(log_id, 10, dialog())
    await history.write([], [], None, [first, other])
    await history.acknowledge(first, "anna", 88)
    await history.close_hole(first)
    await history.close_hole(first)
    await history.acknowledge(first, "too late", 99)
    assert await of(history, log_id) == [other]
    await history.close_hole(other)
    await history.write([], [], None, [other])
    assert await of(history, log_id) == [other]


async def test_the_last_id_of_a_partition_is_known(history: History) -> None:
    """Up to which all is here, or is known to be a hole of one message."""
    chat, log_id, partition = dialog(), log(), 4_000 + next(worlds) % 90
    ids = [message_id(stamp << 10, partition) for stamp in (5, 6, 7)]
    before = (await history.last_ids()).get(partition, 0)
    assert before < ids[0]
    await history.write([message(ids[0], chat)], [], Progress(log_id, partition, 1))
    assert (await history.last_ids())[partition] == ids[0]
    missing = Hole(log_id, partition, 2, 2, ids[1], ids[1], chat, "refused", "", 1)
    await history.write([], [], Progress(log_id, partition, 2), [missing])
    assert (await history.last_ids())[partition] == ids[1]
    wide = missing._replace(last_id=ids[2], chat_id=ChatId(""), reason="trimmed")
    await history.write([], [], Progress(log_id, partition, 3), [wide])
    assert (await history.last_ids())[partition] == ids[1], "who knows what comes with such ids"
    await history.write([message(ids[1], chat)], [], None)  # again, and now it is taken
    page = await history.messages(chat, before=None, after=0, limit=9)
    assert page.events == events(ids[:2])


class _Limited(embedded.Database):
    """Takes no row above so many bytes."""

    @override
    def _connect(self) -> sqlite3.Connection:
        connection = super()._connect()
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, ROW_BYTES_MAX)
        return connection


@asynccontextmanager
async def sqlite(folder: Path, _: Backends) -> AsyncGenerator[History]:
    history = await EmbeddedHistory.open(folder, database=_Limited)
    yield history
    await history.close()


@asynccontextmanager
async def cassandra(folder: Path, backends: Backends) -> AsyncGenerator[History]:
    kind = cassandra_kind.KIND
    if not kind.here():
        backends.absent(kind.name)
    limit = {"mutation": f"{ROW_BYTES_MAX // 1024}KiB"}
    node = Private(Backend(kind, kind.instance(folder, free(kind), options=limit)))
    try:
        await node.start()
        history = await CassandraHistory.open(CassandraSettings((node.address,)))
        yield history
        await history.close()
    finally:
        await node.kill()


@pytest.fixture(params=[sqlite, cassandra])
async def limited(
    request: pytest.FixtureRequest, tmp_path: Path, backends: Backends
) -> AsyncIterator[History]:
    async with request.param(tmp_path, backends) as history:
        yield history


def large(id_: int, chat: ChatId) -> MessageRow:
    return message(id_, chat)._replace(event=bytes(ROW_BYTES_MAX + 5_000))


@pytest.mark.timeout(420)
async def test_rows_that_are_refused_are_named_and_stop_no_others(limited: History) -> None:
    """Also those of other writes in the same round: each is judged alone."""
    chat, other, log_id = dialog(), dialog(), log()
    bad = [large(3, chat), large(5, chat)]
    rows = [message(2, chat), bad[0], message(4, chat), bad[1]]
    marks = [MarkRow(chat, UserId(users(chat)[0]), 2, 2)]
    outcomes = await asyncio.gather(
        limited.write(rows, marks, Progress(log_id, 1, 9)),
        limited.write([message(6, other)], [], Progress(log_id, 2, 5)),
        return_exceptions=True,
    )
    refused, none = outcomes
    assert none is None
    assert isinstance(refused, RowsRefused)
    assert [row for row, _ in refused.rows] == bad
    assert all(reason for _, reason in refused.rows)
    assert await limited.progress(log_id) == {2: Place(0, 5)}
    holes = [Hole(log_id, 1, n, n, n, n, chat, "refused", "too large", 7) for n in (3, 5)]
    rest = [row for row in rows if row not in bad]
    await limited.write(rest, marks, Progress(log_id, 1, 9), holes)
    assert await limited.progress(log_id) == {1: Place(0, 9), 2: Place(0, 5)}
    page = await limited.messages(chat, before=None, after=0, limit=9)
    assert page.events == events([2, 4])
    assert await limited.marks(chat) == marks
    page = await limited.messages(other, before=None, after=0, limit=9)
    assert page.events == events([6])


async def test_where_all_is_refused_no_row_is_to_blame(backends: Backends) -> None:
    """As by a table that somebody has dropped: the same write is taken once it is back."""
    namespace = f"test_{uuid.uuid4().hex[:12]}"
    settings = CassandraSettings((backends.address("cassandra"),), namespace=namespace)
    history, chat = await CassandraHistory.open(settings), dialog()
    database = await Database.connect(settings)
    try:
        table = f"{namespace}.messages_by_chat"
        await database.run(SimpleStatement(f"DROP TABLE {table}"), timeout_s=30)
        with pytest.raises(Unavailable, match="refuses all writes"):
            await history.write([message(1, chat), large(2, chat)], [], Progress("log", 1, 1))
        assert await history.progress("log") == {}
    finally:
        await database.close()
        await history.close()
        await drop_keyspace(settings)


async def test_a_key_that_the_driver_cannot_pack_stops_no_others(backends: Backends) -> None:
    """It raises another error than one that the database itself refuses."""
    namespace = f"test_{uuid.uuid4().hex[:12]}"
    settings = CassandraSettings((backends.address("cassandra"),), namespace=namespace)
    history, chat, log_id = await CassandraHistory.open(settings), dialog(), log()
    try:
        bad = message(3, chat)._replace(chat_id=ChatId("d:" + "x" * 70_000))
        refused, none = await asyncio.gather(
            history.write([message(2, chat), bad], [], Progress(log_id, 1, 9)),
            history.write([message(6, chat)], [], Progress(log_id, 2, 5)),
            return_exceptions=True,
        )
        assert none is None
        assert isinstance(refused, RowsRefused)
        assert [row for row, _ in refused.rows] == [bad]
        hole = Hole(log_id, 1, 3, 3, 3, 3, bad.chat_id, "refused", "too long", 7)
        await history.write([message(2, chat)], [], Progress(log_id, 1, 9), [hole])
        assert await history.holes() == [hole._replace(chat_id=ChatId(""))]
    finally:
        await history.close()
        await drop_keyspace(settings)


async def test_a_refused_message_without_a_chat_is_not_called_missing(history: History) -> None:
    """The database cannot even be asked for it."""
    row, log_id = message(3, dialog())._replace(chat_id=ChatId("")), log()
    hole = Hole(log_id, 1, 3, 3, row.message_id, row.message_id, ChatId(""), "refused", "no key", 7)
    await history.write([], [], Progress(log_id, 1, 9), [hole])
    assert await find_missing(history, [Expected(1, 3, row)]) == {}


async def test_a_full_disk_is_no_refusal(tmp_path: Path) -> None:
    history = await EmbeddedHistory.open(tmp_path, database=_Full)
    with pytest.raises(Unavailable, match="full"):
        await history.write([large(1, dialog())._replace(event=bytes(9_000_000))], [], None)
    await history.close()


class _Full(embedded.Database):
    @override
    def _connect(self) -> sqlite3.Connection:
        connection = super()._connect()
        connection.execute("PRAGMA max_page_count = 1000")
        return connection
