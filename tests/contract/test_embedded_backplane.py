"""What only the log on SQLite promises: its commits, its one process, its own retention."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
from collections.abc import Callable
from contextlib import aclosing, closing
from pathlib import Path

import pytest
from typing_extensions import override

from cecochat.adapters.embedded import streams
from cecochat.adapters.embedded.backplane import FILE, EmbeddedBackplane
from cecochat.adapters.embedded.folder import FolderInUse
from cecochat.adapters.embedded.records import Extent
from cecochat.adapters.embedded.sqlite import Database, Unusable
from cecochat.domain.errors import (
    InvalidSettings,
    ProducerEnded,
    Trimmed,
    Unavailable,
    Undecodable,
)
from cecochat.domain.log.place import Place
from cecochat.ports.backplane import MESSAGES, Producer, Record
from cecochat.ports.reading import records_between
from tests.contract import log_child
from tests.support.backplane import DEADLINE_S, NOW_MS, append, new, read, values


class StalledDatabase(Database):
    """Commits wait while `stalled`, and fail where `failing`."""

    def __init__(self, path: Path) -> None:
        self.go_on = threading.Event()
        self.go_on.set()
        self.reached = threading.Event()
        self.failing = False
        super().__init__(path)

    @override
    def commit(self, connection: sqlite3.Connection) -> None:
        self.reached.set()
        self.go_on.wait()
        if self.failing:
            raise sqlite3.OperationalError("disk I/O error")
        super().commit(connection)

    def stall(self) -> None:
        self.reached.clear()
        self.go_on.clear()


async def test_the_pragmas_of_the_live_connection_are_the_durable_ones(tmp_path: Path) -> None:
    log = await EmbeddedBackplane.open(tmp_path)
    pragmas = await log.database.pragmas()
    await log.close()
    assert pragmas["journal_mode"] == "wal"
    assert pragmas["synchronous"] == 2


async def test_while_the_commit_stalls_no_append_returns_and_no_reader_is_shown_anything(
    tmp_path: Path,
) -> None:
    log = await EmbeddedBackplane.open(tmp_path, database=StalledDatabase)
    database = log.database
    assert isinstance(database, StalledDatabase)
    producer = await log.producer()
    async with aclosing(log.read(MESSAGES, 0, 0)) as batches, asyncio.TaskGroup() as tasks:
        reader = tasks.create_task(anext(batches))
        await asyncio.sleep(0)
        database.stall()
        appending = tasks.create_task(producer.append([new(1)]))
        await asyncio.to_thread(database.reached.wait)  # the row is in the open transaction
        assert await log.database.read(_count) == 0  # a trip through the loop and a thread
        assert await log.bounds(MESSAGES, 0) == (0, 0)
        assert not appending.done()
        assert not reader.done()
        database.go_on.set()
        await appending
        assert values(await reader) == [1]
    await log.close()


async def test_a_log_that_was_cut_in_its_file_begins_at_the_first_row_that_is_left(
    tmp_path: Path,
) -> None:
    """Whoever deletes rows does not write down that they were there."""
    log = await EmbeddedBackplane.open(tmp_path)
    await append(log, [new(number) for number in range(5)])
    await log.close()
    with closing(sqlite3.connect(tmp_path / FILE)) as rows, rows:
        rows.execute("DELETE FROM records WHERE place IN (SELECT place FROM records LIMIT 3)")
    log = await EmbeddedBackplane.open(tmp_path)
    assert await log.bounds(MESSAGES, 0) == (3, 5)
    with pytest.raises(Trimmed):
        await read(log, 1)
    await log.close()


FLIPS = {
    "a value": "value = CAST(substr(value, 1, length(value) - 1) || x'21' AS BLOB)",
    "a key": "key = x'61'",
    "a header": "headers = replace(headers, '=', '-')",
    "a header that is no text": "headers = CAST(x'ff' AS TEXT)",
}


@pytest.mark.parametrize("flip", FLIPS.values(), ids=FLIPS)
async def test_a_record_whose_bytes_have_changed_is_known_by_its_checksum(
    tmp_path: Path, flip: str
) -> None:
    log = await EmbeddedBackplane.open(tmp_path)
    await append(log, [new(number) for number in range(3)])
    await log.close()
    with closing(sqlite3.connect(tmp_path / FILE)) as rows, rows:
        rows.execute(f"UPDATE records SET {flip} WHERE place = 1")
        rows.execute(
            "UPDATE records SET checksum = NULL WHERE place = 2"
        )  # as before there was one
    log = await EmbeddedBackplane.open(tmp_path)
    records = [record async for record in records_between(log, 0, 0, 3)]
    decoded = [record.decoded for record in records]
    assert [isinstance(each, Undecodable) for each in decoded] == [False, True, False]
    await log.close()


def _count(connection: sqlite3.Connection) -> int:
    (count,) = connection.execute("SELECT count(*) FROM records").fetchone()
    return int(count)


async def test_a_failed_commit_fails_all_of_its_group_and_ends_their_sessions(
    tmp_path: Path,
) -> None:
    log = await EmbeddedBackplane.open(tmp_path, database=StalledDatabase)
    database = log.database
    assert isinstance(database, StalledDatabase)
    first, second, other = [await log.producer() for _ in range(3)]
    await first.append([new(0)])
    database.stall()
    async with asyncio.TaskGroup() as tasks:

        async def outcome(producer: Producer, number: int) -> str:
            try:
                await producer.append([new(number)])
            except ProducerEnded:
                return "ended"
            return "appended"

        blocker = tasks.create_task(outcome(first, 1))
        await asyncio.to_thread(database.reached.wait)
        group = [tasks.create_task(outcome(each, 2)) for each in (first, second, second)]
        await asyncio.sleep(0)
        database.failing = True
        database.go_on.set()
    assert blocker.result() == "ended"
    assert [task.result() for task in group] == ["ended"] * 3
    database.failing = False
    with pytest.raises(ProducerEnded):
        await second.append([new(3)])
    await other.append([new(4)])
    assert values(await read(log, 2)) == [0, 4]
    await log.close()


async def test_what_a_failed_commit_may_have_left_is_dropped_once(tmp_path: Path) -> None:
    log = await EmbeddedBackplane.open(tmp_path, database=StalledDatabase)
    database, said = log.database, list[str]()
    assert isinstance(database, StalledDatabase)
    await append(log, [new(0)])
    database.failing = True
    for _ in range(2):
        with pytest.raises(ProducerEnded):
            await append(log, [new(1)])
    database.failing = False
    await database.write(lambda connection: connection.set_trace_callback(said.append))
    for number in (2, 3, 4):
        await append(log, [new(number)])
    assert len([each for each in said if each.startswith("DELETE")]) == 1
    batch = await read(log, 4)
    assert [record.offset for record in batch] == [0, 1, 2, 3]
    assert values(batch) == [0, 2, 3, 4]
    await log.close()


async def test_one_failing_job_leaves_the_others_of_its_group_alone(tmp_path: Path) -> None:
    database = StalledDatabase(tmp_path / "jobs.db")
    await database.write(lambda connection: connection.execute("CREATE TABLE t (n)") and None)

    def insert(number: int) -> Callable[[sqlite3.Connection], int]:
        def job(connection: sqlite3.Connection) -> int:
            connection.execute("INSERT INTO t VALUES (?)", (number,))
            return 1 // number

        return job

    database.stall()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(database.write(insert(9)))
        await asyncio.to_thread(database.reached.wait)
        futures = [
            asyncio.gather(database.write(insert(n)), return_exceptions=True) for n in range(3)
        ]
        await asyncio.sleep(0)
        database.go_on.set()
    outcomes = [(await future)[0] for future in futures]
    assert isinstance(outcomes[0], ZeroDivisionError)
    assert outcomes[1:] == [1, 0]
    rows = await database.read(lambda c: c.execute("SELECT n FROM t ORDER BY n").fetchall())
    assert rows == [(1,), (2,), (9,)]
    await database.close()
    with pytest.raises(Unavailable):
        await database.write(insert(1))


async def test_a_reader_over_its_bound_selects_and_sees_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HANDOVER_RECORDS", 10)
    log = await EmbeddedBackplane.open(tmp_path)
    await append(log, [new(0)])
    found: list[Record] = []
    async with aclosing(log.read(MESSAGES, 0, 0)) as batches:
        found += await anext(batches)
        for number in range(1, 101):  # handed over up to the bound while nobody takes them
            await append(log, [new(number)])
        while len(found) < 101:
            found += await anext(batches)
    assert found == await read(log, 101)
    assert values(found) == list(range(101))
    await log.close()


def rows(*offsets: int) -> list[Record]:
    return [Record(offset, 0, b"k", b"v", ()) for offset in offsets]


def test_a_reader_below_the_end_is_handed_nothing_or_it_would_miss_what_lies_between() -> None:
    stream, behind = streams.Stream(Extent(0, 5, 0)), streams.Reader(2)
    stream.readers.add(behind)
    stream.extend(rows(5, 6))
    assert behind.take() == []
    assert behind.next == 2
    assert stream.end == 7


def test_what_a_select_saw_before_the_loop_heard_of_the_commit_is_not_handed_again() -> None:
    stream, ahead = streams.Stream(Extent(0, 5, 0)), streams.Reader(7)
    stream.readers.add(ahead)
    stream.extend(rows(5, 6))
    assert ahead.take() == []
    ahead.next = 8
    stream.extend(rows(7, 8, 9))
    assert ahead.take() == rows(8, 9)


async def test_a_second_opener_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, log_child.__file__, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        assert await child.stdout.readline()
        with pytest.raises(FolderInUse, match=f"process {child.pid}"):
            await EmbeddedBackplane.open(tmp_path)
        child.kill()
        await child.communicate()
    log = await EmbeddedBackplane.open(tmp_path)  # the lock ended with the process
    with pytest.raises(FolderInUse):
        await EmbeddedBackplane.open(tmp_path)
    await log.close()
    await (await EmbeddedBackplane.open(tmp_path)).close()


async def test_the_partition_count_is_fixed_at_creation(tmp_path: Path) -> None:
    log = await EmbeddedBackplane.open(tmp_path)
    assert await log.partition_count() == 1
    await log.close()
    with pytest.raises(InvalidSettings, match="created with 1 "):
        await EmbeddedBackplane.open(tmp_path, partition_count=60)
    for count in (0, 4_097):
        with pytest.raises(InvalidSettings, match="1 to 4096"):
            await EmbeddedBackplane.open(tmp_path / str(count), partition_count=count)


async def test_what_an_earlier_version_committed_is_a_place_of_no_known_clock(
    tmp_path: Path,
) -> None:
    log = await EmbeddedBackplane.open(tmp_path, partition_count=2)
    await append(log, [new(1), new(2)])
    await log.commit("g", MESSAGES, {0: Place(NOW_MS, 1), 1: Place(NOW_MS, 0)})
    await log.close()
    with closing(sqlite3.connect(tmp_path / FILE)) as former:
        former.execute("ALTER TABLE committed DROP COLUMN clock_ms")
    log = await EmbeddedBackplane.open(tmp_path)
    assert await log.committed("g", MESSAGES, 0) == Place(0, 1)
    assert values(await read(log, 2)) == [1, 2]
    await log.commit("g", MESSAGES, {0: Place(NOW_MS, 2)})
    await log.close()
    log = await EmbeddedBackplane.open(tmp_path)
    assert await log.committed("g", MESSAGES, 0) == Place(NOW_MS, 2)
    assert await log.committed("g", MESSAGES, 1) == Place(0, 0)
    await log.close()


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"no database" * 1_000)
    with pytest.raises(Unusable, match=r"log\.db cannot be opened .*: it is damaged"):
        await EmbeddedBackplane.open(tmp_path)


@pytest.mark.parametrize("lines", [1, 50, 400])
async def test_after_sigkill_everything_accepted_is_there_without_holes(
    tmp_path: Path, lines: int
) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, log_child.__file__, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    accepted = dict.fromkeys(range(log_child.PARTITIONS), -1)
    async with asyncio.timeout(DEADLINE_S):
        head = b"".join([await child.stdout.readline() for _ in range(lines)])
        child.kill()
        rest, _ = await child.communicate()
    whole, _, _ = (head + rest).rpartition(b"\n")  # the kill may have cut the last line
    assert whole.count(b"\n") + 1 >= lines
    for line in whole.splitlines():
        partition, number = map(int, line.split())
        accepted[partition] = number
    log = await EmbeddedBackplane.open(tmp_path)
    for partition, number in accepted.items():
        start, end = await log.bounds(MESSAGES, partition)
        assert (start, end % 2) == (0, 0), "an append lands whole or not at all"
        assert end > number
        if end:
            records = await read(log, end, partition)
            assert [record.offset for record in records] == list(range(end))
            assert values(records) == list(range(end))
    await log.close()
