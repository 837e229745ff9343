"""A SQLite database with one writer thread, which commits in groups, and some reader threads.

Everything that callers submit during one commit is applied in one transaction by the next. So each
group, and not each row, pays for a sync of the disk, a switch of threads and a wake-up of the event
loop.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from itertools import chain
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, Generic, NamedTuple, TypeVar

from typing_extensions import override

from cecochat.domain.errors import CecochatError, Unavailable
from cecochat.settings import private

Payload = TypeVar("Payload")
Result = TypeVar("Result")
Job = Callable[[sqlite3.Connection], Result]

GROUP_MAX = 1_000
"""The most submissions in one transaction, so that no commit takes long, however many wait."""

READERS = 2
PAGE_BYTES = 4_096
CHECKPOINT_PAGES = 2_000
BUSY_TIMEOUT_MS = 5_000
CACHE_KIB = 16_384
PRIMARY_CODE = 0xFF  # an extended error code ends with its primary code
RESTORE = (
    "it is damaged; docs/how-to/when-something-is-wrong.md says how to go on with the rest, and "
    "`cecochat restore` makes a data folder from a copy"
)
RIGHTS = "let this user write it"
ROOM = "make room on the disk"
MENDS = {
    sqlite3.SQLITE_CORRUPT: RESTORE,
    sqlite3.SQLITE_NOTADB: RESTORE,
    sqlite3.SQLITE_PERM: RIGHTS,
    sqlite3.SQLITE_READONLY: RIGHTS,
    sqlite3.SQLITE_CANTOPEN: RIGHTS,
    sqlite3.SQLITE_FULL: ROOM,
    sqlite3.SQLITE_IOERR: "look at the disk and its logs",
}
"""Primary code of SQLite -> what to do about it."""

PRAGMAS: Final[Mapping[str, str | int]] = {
    "page_size": PAGE_BYTES,
    "journal_mode": "wal",
    "synchronous": 2,  # FULL: a commit returns when the disk has it
    "busy_timeout": BUSY_TIMEOUT_MS,
    "wal_autocheckpoint": CHECKPOINT_PAGES,
    "cache_size": -CACHE_KIB,
}


class Unusable(CecochatError):
    """A database cannot be opened, and waiting would not help."""


class Work(Generic[Payload, Result]):
    """What to do with submissions of one kind. Those of one kind are applied in the order in which
    they were submitted; between kinds there is no order.
    """

    def apply(
        self, connection: sqlite3.Connection, payloads: Sequence[Payload]
    ) -> Sequence[Result | Exception]:
        """Apply the payloads, and return a result or an error for each. Called by the writer thread
        in a transaction, and again after a rollback.
        """
        raise NotImplementedError

    def undone(self) -> None:
        """Take note that what was applied last is rolled back. Called by the writer thread."""

    def failed(self, payload: Payload) -> None:
        """Take note that a payload was not stored. Called by the writer thread before it applies
        anything that was submitted later.
        """

    def committed(self, results: Sequence[Result]) -> None:
        """Take note that these are durable. Called by the event loop before it wakes those who wait
        for them.
        """


class _Jobs(Work[Job[Any], Any]):
    """The general kind, whose payloads are functions to call."""

    @override
    def apply(self, connection: sqlite3.Connection, payloads: Sequence[Job[Any]]) -> Sequence[Any]:
        return [job(connection) for job in payloads]


class _Submission(NamedTuple):
    work: Work[Any, Any]
    payload: Any
    done: asyncio.Future[Any]


_Outcome = tuple[Work[Any, Any], Sequence[_Submission], Sequence[Any]]
"""Submissions of one kind, and a result or an exception for each."""

_JOBS = _Jobs()


class Database:
    """One database file, used from the event loop that is running, by one writer thread and a few
    reader threads.

    A submission is queued at once, and its caller waits for the commit. So the number of callers
    bounds the queue.
    """

    def __init__(self, path: Path, pragmas: Mapping[str, str | int] = PRAGMAS) -> None:
        """Open the file, or create it. Raises `Unusable`, `Unavailable`."""
        self.path = path
        self._pragmas = pragmas
        self._loop = asyncio.get_running_loop()
        self._queue: SimpleQueue[_Submission | None] = SimpleQueue()
        self._closing = False
        self._stopped = self._loop.create_future()
        private.make_folder(path.parent)
        private.make_file(path)
        with self._opening():
            self._connection = self._connect()
        self._local = threading.local()
        self._reader_connections: list[sqlite3.Connection] = []
        self._readers = ThreadPoolExecutor(READERS, f"{path.stem}-reader")
        self._writer = threading.Thread(
            target=self._write_groups, name=f"{path.stem}-writer", daemon=True
        )
        self._writer.start()

    def submit(self, work: Work[Payload, Result], payload: Payload) -> asyncio.Future[Result]:
        """Queue a payload for the next group. After the commit the future has its result, or what
        went wrong. Cancelling the future does not take the payload back. Raises `Unavailable` once
        the database is closed.
        """
        if self._closing:
            raise Unavailable(f"{self.path} is closed")
        done: asyncio.Future[Result] = self._loop.create_future()
        self._queue.put(_Submission(work, payload, done))
        return done

    async def prepare(self, job: Job[Result]) -> Result:
        """Run the first job, for example to create the tables, and close the database if it fails.
        Raises `Unusable`, and what `write` raises.
        """
        try:
            with self._opening():
                return await self.submit(_JOBS, job)
        except BaseException:
            await self.close()
            raise

    async def write(self, job: Job[Result]) -> Result:
        """Run `job` on the writer thread, and return its result once that is durable. Other jobs
        cannot make it fail.

        Raises what `job` raises, but `Unavailable` for errors of SQLite.
        """
        with self.errors():
            return await self.submit(_JOBS, job)

    async def read(self, job: Job[Result]) -> Result:
        """Run `job` on a reader thread with a read-only connection. Raises what `write` raises."""
        if self._closing:
            raise Unavailable(f"{self.path} is closed")
        with self.errors():
            return await self._loop.run_in_executor(
                self._readers, lambda: job(self._reader_connection())
            )

    async def pragmas(self) -> dict[str, Any]:
        """Return the pragmas that are in force on the writer's connection."""
        return await self.write(
            lambda connection: {
                name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in self._pragmas
            }
        )

    async def empty_wal(self) -> None:
        """Move what is committed out of the write-ahead log, and empty that file, so that it does
        not keep what was removed. Raises `Unavailable` if a long query is in the way.
        """

        def checkpoint() -> None:
            with closing(self._connect()) as connection:
                is_busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if is_busy:
                raise Unavailable(f"{self.path}: a query is in the way of a checkpoint: try again")

        with self.errors():
            await self._loop.run_in_executor(self._readers, checkpoint)

    async def close(self) -> None:
        """Commit what is queued, stop the threads and close the connections. It may be called
        again.
        """
        if not self._closing:
            self._closing = True
            self._queue.put(None)
        await asyncio.shield(self._stopped)
        self._writer.join()
        self._readers.shutdown(wait=True)
        while self._reader_connections:
            self._reader_connections.pop().close()

    def commit(self, connection: sqlite3.Connection) -> None:
        """Make the open transaction durable. Tests override this to stall it or to let it fail."""
        connection.execute("COMMIT")

    @contextmanager
    def errors(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            damaged = f": {RESTORE}" if _primary_code(error) == sqlite3.SQLITE_CORRUPT else ""
            raise Unavailable(f"{self.path}: {error}{damaged}") from error

    @contextmanager
    def _opening(self) -> Generator[None]:
        """Tell what another attempt can mend from what only a person can."""
        try:
            yield
        except sqlite3.Error as error:
            code = _primary_code(error)
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise Unavailable(f"{self.path}: {error}") from error
            mend = MENDS.get(code, "see docs/how-to/when-something-is-wrong.md")
            raise Unusable(f"{self.path} cannot be opened ({error}): {mend}") from None

    def _connect(self) -> sqlite3.Connection:
        # With isolation_level None, we begin transactions. Threads never share a connection.
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            for name, value in self._pragmas.items():
                connection.execute(f"PRAGMA {name}={value}")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _reader_connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect()
            connection.execute("PRAGMA query_only=1")
            self._reader_connections.append(connection)
        return connection

    def _write_groups(self) -> None:
        while (first := self._queue.get()) is not None:
            group = [first]
            while len(group) < GROUP_MAX and self._queue.qsize():
                if (submission := self._queue.get()) is None:
                    self._queue.put(None)  # it stays last: submit refuses once closing
                    break
                group.append(submission)
            self._call_in_loop(self._set_results, self._run_group(group))
        self._connection.close()
        self._call_in_loop(self._stopped.set_result, None)

    def _call_in_loop(self, function: Callable[[Any], object], argument: Any) -> None:
        with suppress(RuntimeError):  # the loop is closed, so nobody waits any more
            self._loop.call_soon_threadsafe(function, argument)

    def _run_group(self, group: Sequence[_Submission]) -> list[_Outcome]:
        kinds: dict[Work[Any, Any], list[_Submission]] = {}
        for submission in group:
            kinds.setdefault(submission.work, []).append(submission)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            return self._all_failed(kinds, error)
        applied: list[Work[Any, Any]] = []
        outcomes: list[_Outcome] = []
        try:
            for work, items in kinds.items():
                applied.append(work)
                results = work.apply(self._connection, [item.payload for item in items])
                outcomes.append((work, items, results))
        except Exception as error:  # noqa: BLE001  what a job raises is for its caller
            self._roll_back(applied)
            if len(group) == 1:
                return self._all_failed(kinds, error)
            return [outcome for item in group for outcome in self._run_group([item])]
        try:
            self.commit(self._connection)
        except sqlite3.Error as error:
            self._roll_back(applied)
            return self._all_failed(kinds, error)
        return outcomes

    def _all_failed(
        self, kinds: dict[Work[Any, Any], list[_Submission]], error: Exception
    ) -> list[_Outcome]:
        for work, items in kinds.items():
            for item in items:
                work.failed(item.payload)
        return [(work, items, [error] * len(items)) for work, items in kinds.items()]

    def _roll_back(self, applied: Iterable[Work[Any, Any]]) -> None:
        for work in applied:
            work.undone()
        if self._connection.in_transaction:
            # If this fails, SQLite has rolled back by itself, or the next BEGIN says what is wrong.
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def _set_results(self, outcomes: Sequence[_Outcome]) -> None:
        for work, submissions, results in outcomes:
            work.committed([result for result in results if not isinstance(result, Exception)])
            for submission, result in zip(submissions, results, strict=True):
                if submission.done.done():
                    continue  # the caller was cancelled and waits no longer
                if isinstance(result, Exception):
                    submission.done.set_exception(result)
                else:
                    submission.done.set_result(result)


def _primary_code(error: sqlite3.Error) -> int:
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & PRIMARY_CODE


def execute_all(connection: sqlite3.Connection, statements: Sequence[str]) -> None:
    """Execute the statements one after the other."""
    for statement in statements:
        connection.execute(statement)


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Generator[None]:
    """Have all that is read in the block belong together."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


def add_column(connection: sqlite3.Connection, table: str, column: str, kind: str) -> None:
    """Add a column to a table of an earlier version, if the table lacks it."""
    columns = [name for _, name, *_ in connection.execute(f"PRAGMA table_info({table})")]
    if column not in columns:
        connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} {kind}")


class Rows:
    """Inserts many rows per statement: `head VALUES (?, ...), (?, ...) tail`.

    Python's driver releases the interpreter lock at every step of a statement, and may wait up to
    5 ms to get it back from a busy event loop. `executemany` takes a step per row, and a multi-row
    INSERT one step in all (ADR 0011). With `OR ROLLBACK`, SQLite needs no journal for the
    statement. A failure then ends the transaction, which would be rolled back anyway.
    """

    SIZES = (256, 64, 16, 4, 1)

    def __init__(self, head: str, columns: int, tail: str = "") -> None:
        """Make the statements. `head` is like `INSERT OR ROLLBACK INTO t`, `columns` the number of
        columns, and `tail` an ON CONFLICT clause.
        """
        row = f"({','.join('?' * columns)})"
        self._sql = [
            (size, f"{head} VALUES {','.join([row] * size)} {tail}") for size in self.SIZES
        ]

    def write(self, connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert the rows in order."""
        start = 0
        for size, sql in self._sql:
            while len(rows) - start >= size:
                connection.execute(sql, list(chain.from_iterable(rows[start : start + size])))
                start += size
