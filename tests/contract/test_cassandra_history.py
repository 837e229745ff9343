"""What only the history on Cassandra promises: its schema, its buckets, writes that come late."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from cassandra.query import SimpleStatement  # type: ignore[import-untyped]

from cecochat.adapters.cassandra import schema
from cecochat.adapters.cassandra.database import Database
from cecochat.adapters.cassandra.history import CassandraHistory
from cecochat.adapters.cassandra.settings import CassandraSettings, endpoint
from cecochat.adapters.cassandra.statements import bucket_of
from cecochat.domain.changes.about import About
from cecochat.domain.errors import Unavailable
from cecochat.domain.log.ids import ChatId, UserId, message_id, partition_in, stamp_at, stamp_of
from cecochat.domain.log.place import Place as LogPlace
from cecochat.ports.history import ChatRow, MarkRow, Page, Progress
from cecochat.v1.events_pb2 import GroupOptions, Membership
from tests.contract.openers.cassandra import drop_keyspace
from tests.support.backends import Backends
from tests.support.cassandra import CHAT, NEW_YEAR_MS, at, message, opened, write
from tests.support.damage import to_cassandra
from tests.support.eventually import eventually
from tests.support.groups import GroupWorld


@pytest.fixture
async def settings(backends: Backends) -> AsyncIterator[CassandraSettings]:
    """Of a keyspace that is not there yet."""
    namespace = f"test_{uuid.uuid4().hex[:12]}"
    made = CassandraSettings((backends.address("cassandra"),), namespace=namespace)
    yield made
    await drop_keyspace(made)


@asynccontextmanager
async def database(settings: CassandraSettings) -> AsyncGenerator[Database]:
    connected = await Database.connect(settings)
    try:
        yield connected
    finally:
        await connected.close()


async def test_servers_that_start_at_once_make_one_schema(settings: CassandraSettings) -> None:
    async with asyncio.TaskGroup() as tasks:
        starts = [tasks.create_task(CassandraHistory.open(settings)) for _ in range(4)]
    histories = [start.result() for start in starts]
    for number, history in enumerate(histories):
        await write(history, message(at(number)))
        page = await history.messages(CHAT, before=None, after=None, limit=9)
        assert len(page.events) == number + 1
    for history in histories:
        await history.close()
    async with database(settings) as db:
        rows = await db.run(
            SimpleStatement(f"SELECT kind, version FROM {settings.namespace}.schema_migrations")
        )
    assert rows == [("applied", each.version) for each in schema.MIGRATIONS]  # and no lock


async def test_a_lock_that_a_dead_server_left_is_waited_for(settings: CassandraSettings) -> None:
    ttl_s = 3
    async with database(settings) as db:
        half_way = schema.Schema(db, settings)
        await half_way.prepare()
        await half_way.run(schema.LOCK, "a server that died", ttl_s)
        begun_s = time.monotonic()
        async with opened(settings) as history:
            assert time.monotonic() - begun_s > ttl_s / 2
            await write(history, message(at(0)))


async def test_a_newer_schema_is_accepted_and_a_change_meanwhile_survived(
    settings: CassandraSettings,
) -> None:
    """Version N runs beside N+1: a changed table makes the prepared statements unknown."""
    async with opened(settings) as before, database(settings) as db:
        await write(before, message(at(0)))
        newer = schema.Schema(db, settings)
        await newer.run("ALTER TABLE {keyspace}.messages_by_chat ADD later text")
        await newer.run("ALTER TABLE {keyspace}.chats_by_user ADD later text")
        await newer.run(schema.APPLY, schema.MIGRATIONS[-1].version + 1, "a newer server")
        await write(before, message(at(1)), message(at(11)))
        async with opened(settings) as after:
            for history in (before, after):
                page = await history.messages(CHAT, before=None, after=None, limit=9)
                assert page == Page([b"event %d" % at(day) for day in (0, 1, 11)], False)
                (chat,), _ = await history.chats(UserId("b"), before=None, limit=9)
                assert chat.last_message_id == at(11)


async def test_a_keyspace_of_the_version_before_gets_what_it_lacks(
    settings: CassandraSettings,
) -> None:
    all_ = schema.MIGRATIONS
    async with database(settings) as db:
        await schema.migrate(db, settings, all_[:-1])
        assert await schema.Schema(db, settings).missing() == [all_[-1]]
    group = GroupWorld("g:us", 7, {"ann": 1})
    group.change("ann", Membership(options=GroupOptions(name="Us")))
    async with opened(settings) as history:
        await write(history, message(at(0)), *group.rows)
        assert await history.groups.seen(UserId("ann"), group.chat_id)


async def test_what_an_earlier_version_writes_mentions_nobody_until_it_is_restored(
    settings: CassandraSettings,
) -> None:
    """It runs beside this one, and does not know the columns."""
    other = UserId("b")
    said = message(at(0))._replace(mentioned=(other,))
    about = About(at(0, 1), "edit", UserId("a"))
    again = message(at(0, 2))._replace(about=about, mentioned=(other,))
    rows = [said, message(at(0, 1)), again]
    async with opened(settings) as history, database(settings) as db:
        await write(history, *(row._replace(mentioned=()) for row in rows))
        keyspace, key = settings.namespace, (CHAT, bucket_of(at(0)))
        cql = f"""DELETE mentioned FROM {keyspace}.changes_by_message
            WHERE chat_id = %s AND bucket = %s"""
        place = (*key, about.kind, about.message_id, about.key)
        cql += " AND kind = %s AND message_id = %s AND key = %s"
        await db.run(SimpleStatement(cql), place)
        (chat,), _ = await history.chats(other, before=None, limit=1)
        assert (chat.unread_count, chat.unread_mention_count) == (2, 0)
        lacking = await history.lacking(rows, [])
        assert (lacking.absent, lacking.other) == ([], [again, said])
        await history.restore(lacking.other, [])
        (chat,), _ = await history.chats(other, before=None, limit=1)
        assert (chat.unread_count, chat.unread_mention_count) == (2, 2)


async def test_late_and_repeated_writes_of_another_server_change_nothing(
    settings: CassandraSettings,
) -> None:
    async with opened(settings) as one, opened(settings) as other:
        await write(one, message(at(20)), message(at(20, 1)))
        await one.write(
            [],
            [MarkRow(CHAT, UserId("b"), at(20), at(20))],
            Progress("log", 3, 9, NEW_YEAR_MS),
        )
        await write(other, message(at(20))._replace(event=b"zzz"), message(at(3)))
        await other.write(
            [], [MarkRow(CHAT, UserId("b"), 0, at(3))], Progress("log", 3, 5, NEW_YEAR_MS)
        )
        event, marks = b"event %d" % at(20, 1), [MarkRow(CHAT, UserId("b"), at(20), at(20))]
        for history in (one, other):
            page = await history.messages(CHAT, before=None, after=None, limit=9)
            assert page.events == [b"event %d" % each for each in (at(3), at(20), at(20, 1))]
            chats = await history.chats(UserId("b"), before=None, limit=9)
            assert chats == ([ChatRow(CHAT, at(20, 1), event, 1, 0, marks)], False)
            assert (await history.progress("log"))[3] == LogPlace(NEW_YEAR_MS, 9)


async def test_what_a_restored_database_lacks_is_found_again_when_it_is_written_again(
    settings: CassandraSettings,
) -> None:
    async with opened(settings) as history, database(settings) as admin:
        await write(history, message(at(1)))
        for table in ("messages_by_chat", "buckets_by_chat", "reached"):
            await admin.run(SimpleStatement(f"TRUNCATE {settings.namespace}.{table}"))
        assert await history.progress("log") == {}
        await write(history, message(at(1)))
        page = await history.messages(CHAT, before=None, after=None, limit=9)
        assert page.events == [b"event %d" % at(1)]


async def test_pages_pass_over_empty_buckets_without_asking_them(
    settings: CassandraSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [*range(0, 3_000, 100), 3_001, *(3_300 + each / 100 for each in range(60))]
    ids = [at(day) for day in days]
    filled = {bucket_of(id_) for id_ in ids}
    asked: list[int] = []
    async with opened(settings) as history:
        await write(history, *map(message, ids))
        run = history._database.run

        async def spied(statement: object, *args: object) -> object:
            values: Sequence[Any] = getattr(statement, "raw_values", ())
            if len(values) == 4:  # chat, bucket, bound, limit
                asked.append(values[1])
            return await run(statement, *args)  # type: ignore[arg-type]

        monkeypatch.setattr(history._database, "run", spied)
        for up in (False, True):
            found: list[bytes] = []
            bound, more = (0 if up else None), True
            while more:
                before, after = (None, bound) if up else (bound, None)
                page = await history.messages(CHAT, before=before, after=after, limit=7)
                found = [*found, *page.events] if up else [*page.events, *found]
                more, bound = page.has_more, int(page.events[-1 if up else 0].split()[1])
            assert found == [b"event %d" % id_ for id_ in ids]
    assert asked
    assert set(asked) <= filled


async def test_unread_messages_are_counted_over_buckets(
    settings: CassandraSettings,
) -> None:
    old = [message(at(0, number), "a") for number in range(5)]
    own = [message(at(50, number), "b") for number in range(900)]
    new = [message(at(90, number), "a") for number in range(7)]
    async with opened(settings) as history:
        await write(history, *old, *own, *new)
        (chat,), _ = await history.chats(UserId("b"), before=None, limit=1)
        assert chat.unread_count == 12
        mark = MarkRow(CHAT, UserId("b"), 0, at(0, 1))
        await history.write([], [mark], Progress("log", 0, 0))
        (chat,), _ = await history.chats(UserId("b"), before=None, limit=1)
        assert chat.unread_count == 10


async def test_more_chats_than_the_driver_reads_at_once(settings: CassandraSettings) -> None:
    rows = [message(at(1, number), "u", ChatId(f"d:u~v{number:02}")) for number in range(30)]
    async with opened(settings) as history:
        history._database._session.default_fetch_size = 7
        await write(history, *rows)
        chats, more = await history.chats(UserId("u"), before=None, limit=29)
    assert [chat.chat_id for chat in chats] == [row.chat_id for row in reversed(rows[1:])]
    assert more


async def test_an_idle_connection_that_is_cut_does_not_stop_the_loop(
    settings: CassandraSettings,
) -> None:
    cuts: list[asyncio.StreamWriter] = []
    relays: set[asyncio.Task[None] | None] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
        writer.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cuts.append(writer)
        relays.add(asyncio.current_task())
        host, port = endpoint(settings.addresses[0])
        there_reader, there = await asyncio.open_connection(host, port)
        await asyncio.gather(pump(reader, there), pump(there_reader, writer))

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        async with database(replace(settings, addresses=(f"{host}:{port}",))) as cut:
            ask = SimpleStatement("SELECT key FROM system.local")
            assert await cut.run(ask) == [("local",)]
            held = [each for holder in cut._cluster.get_connection_holders()
                    for each in holder.get_connections()]  # fmt: skip
            for writer in cuts:
                writer.transport.abort()
            await eventually(lambda: all(each.is_closed for each in held))
            started_s = time.monotonic()
            with suppress(Unavailable):  # it may be connected again by now
                await cut.run(ask)
            assert time.monotonic() - started_s < settings.request_timeout_s / 2
            await eventually(lambda: answers(cut, ask))
    for writer in cuts:
        writer.close()
    await asyncio.gather(*filter(None, relays))


async def answers(connected: Database, statement: SimpleStatement) -> bool:
    with suppress(Unavailable):
        return bool(await connected.run(statement))
    return False


async def test_a_bucket_that_nobody_finds_is_lacking_with_what_is_in_it(
    settings: CassandraSettings,
) -> None:
    row = message(at(0))
    async with (
        opened(settings) as history,
        to_cassandra(settings.addresses[0], settings.namespace) as damage,
    ):
        await write(history, row)
        await damage.hide_bucket(CHAT, row.message_id)
        assert (await history.messages(CHAT, before=None, after=None, limit=9)).events == []
        assert (await history.lacking([row], [])).absent == [row]
        await history.restore([row], [])
        page = await history.messages(CHAT, before=None, after=None, limit=9)
        assert page.events == [row.event]


async def test_when_a_row_was_first_written_is_kept(settings: CassandraSettings) -> None:
    """Whatever the time in its id says, and however often it is written again."""
    ids = [at(0), message_id(stamp_at(int(time.time() * 1_000)), 7), at(3_650)]
    async with opened(settings) as history:
        assert await history.written_at_ms(CHAT, ids[0]) is None
        before_ms = int(time.time() * 1_000)
        await write(history, *map(message, ids))
        after_ms = time.time() * 1_000
        first = [await history.written_at_ms(CHAT, each) for each in ids]
        assert all(each and before_ms <= each <= after_ms for each in first)
        await asyncio.sleep(0.005)
        await write(history, *map(message, ids))
        assert [await history.written_at_ms(CHAT, each) for each in ids] == first


async def test_changes_of_a_group_count_once_all_before_them_is_there(
    settings: CassandraSettings,
) -> None:
    group = GroupWorld("g:us", 7, {"ann": 1, "bob": 2})
    ann, bob = UserId("ann"), UserId("bob")
    created = group.change(ann, Membership(options=GroupOptions(name="Us"), added_ids=[bob]))
    left = group.change(bob, Membership(removed_ids=[bob]))
    group.say(ann)
    async with opened(settings) as history:
        await history.write(group.rows, [], None)
        assert await history.groups.seen(bob, group.chat_id) is None
        assert await history.chats(ann, before=None, limit=9) == ([], False)
        for row, as_of in ((created, created.message_id), (left, left.message_id)):
            await history.write([row], [], Progress("log", 7, as_of))
            for user in (ann, bob):
                sight = await history.groups.seen(user, group.chat_id)
                assert sight
                assert sight.as_of == as_of
                ((line,), _) = await history.chats(user, before=None, limit=9)
                assert line.last_message_id == as_of
                assert line.group
                assert line.group.role == sight.role


PARTITIONS = (7, 9)  # of the two who chat
ROUND = 50
READERS = 16


async def written_without_end(history: CassandraHistory, partition: int) -> None:
    """Round after round, as a materialize server does it."""
    for first in itertools.count(1, ROUND):
        ids = [message_id(number << 10, partition) for number in range(first, first + ROUND)]
        rows = [message(id_)._replace(event=b"%100d" % id_) for id_ in ids]
        await history.write(rows, [], Progress("log", partition, first + ROUND))


def holes(page: Page) -> list[tuple[int, int]]:
    """(partition, number) of messages that are missing between two of their sender."""
    ids = [int(event) for event in page.events]
    return [
        (partition, number)
        for partition in PARTITIONS
        if (seen := {stamp_of(id_) >> 10 for id_ in ids if partition_in(id_) == partition})
        for number in range(min(seen), max(seen))
        if number not in seen
    ]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
async def test_no_message_is_read_without_the_earlier_ones_of_its_sender(
    count: int, settings: CassandraSettings
) -> None:
    reads, seen = itertools.count(), set[bytes]()
    async with opened(settings) as writing, opened(settings) as reading:

        async def read() -> None:
            while next(reads) < count:
                page = await reading.messages(CHAT, before=None, after=None, limit=60)
                assert not holes(page)
                seen.update(page.events[-1:])

        async with asyncio.TaskGroup() as writers:
            tasks = [writers.create_task(written_without_end(writing, p)) for p in PARTITIONS]
            async with asyncio.TaskGroup() as readers:
                for _ in range(READERS):
                    readers.create_task(read())
            for task in tasks:
                task.cancel()
    assert len(seen) > count / 1_000, "nothing was written meanwhile"
