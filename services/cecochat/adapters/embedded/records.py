"""How the log is stored in SQLite: in one table, whose key has topic, partition and offset in one
integer. A *stream* is a partition of a topic.
"""

from __future__ import annotations

import logging
import sqlite3
import uuid
import zlib
from typing import NamedTuple

from cecochat.adapters.embedded.sqlite import Rows, add_column, execute_all
from cecochat.domain.errors import InvalidSettings, Undecodable
from cecochat.ports.backplane import DEAD_LETTERS, MESSAGES, Headers, Record, Topic

log = logging.getLogger(__name__)

TOPICS: tuple[Topic, ...] = (MESSAGES, DEAD_LETTERS)
PARTITIONS_MAX = 4_096
PARTITIONS_DEFAULT = 1  # one process owns them all, and a message is one record
OFFSET_BITS = 40
OFFSETS = 1 << OFFSET_BITS

BATCH_RECORDS = 1_000
BATCH_BYTES = 1 << 20

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS records (
        place INTEGER PRIMARY KEY,
        appended_at_ms INTEGER NOT NULL,
        key BLOB NOT NULL,
        value BLOB NOT NULL,
        headers TEXT NOT NULL,
        checksum INTEGER)""",
    # For people: SELECT * FROM log WHERE partition = 3
    """CREATE VIEW IF NOT EXISTS log AS SELECT
        CASE (place >> 40) / 4096 WHEN 0 THEN 'messages' ELSE 'messages.dead' END AS topic,
        (place >> 40) % 4096 AS partition,
        place & ((1 << 40) - 1) AS "offset",
        appended_at_ms, CAST(key AS TEXT) AS key, value, headers FROM records""",
    """CREATE TABLE IF NOT EXISTS trimmed (
        stream INTEGER PRIMARY KEY,
        start INTEGER NOT NULL,
        appended_at_ms INTEGER NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS committed (
        consumer TEXT NOT NULL,
        stream INTEGER NOT NULL,
        next INTEGER NOT NULL,
        clock_ms INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (consumer, stream)) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS identity (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
)

INSERT = Rows("INSERT OR ROLLBACK INTO records", 6)
COMMIT = Rows(
    "INSERT OR ROLLBACK INTO committed",
    4,
    "ON CONFLICT DO UPDATE SET next = excluded.next, clock_ms = excluded.clock_ms",
)
SELECT = """SELECT place, appended_at_ms, key, value, CAST(headers AS BLOB), checksum
    FROM records
    WHERE place >= ? AND place < ? ORDER BY place LIMIT ?"""
NEWEST = """SELECT place, appended_at_ms FROM records
    WHERE place >= ? AND place < ? ORDER BY place DESC LIMIT 1"""
OLDEST = "SELECT place FROM records WHERE place >= ? AND place < ? ORDER BY place LIMIT 1"


class Extent(NamedTuple):
    """A stream has the offsets from `start` to below `end`. `appended_at_ms` is the append time of
    the newest record that it ever had.
    """

    start: int
    end: int
    appended_at_ms: int


class Log(NamedTuple):
    """What was fixed when the log was created, and the extent of each stream when it was opened."""

    log_id: str
    partition_count: int
    extents: dict[int, Extent]

    def check(self, partition: int) -> None:
        """Raise ValueError if there is no such partition."""
        if not 0 <= partition < self.partition_count:
            raise ValueError(
                f"there is no partition {partition}: use 0 to {self.partition_count - 1}"
            )


def open_log(connection: sqlite3.Connection, wanted: int | None) -> Log:
    """Create the log, or read what it has. Raises `InvalidSettings` if it has another number of
    partitions than `wanted`.
    """
    if wanted is not None and not 1 <= wanted <= PARTITIONS_MAX:
        raise InvalidSettings(f"a log cannot have {wanted} partitions: use 1 to {PARTITIONS_MAX}")
    execute_all(connection, SCHEMA)
    add_column(connection, "committed", "clock_ms", "INTEGER NOT NULL DEFAULT 0")
    add_column(connection, "records", "checksum", "INTEGER")  # of what is older, there is none
    connection.executemany(
        "INSERT INTO identity VALUES (?, ?) ON CONFLICT DO NOTHING",
        [("log_id", str(uuid.uuid4())), ("partition_count", str(wanted or PARTITIONS_DEFAULT))],
    )
    identity = dict(connection.execute("SELECT name, value FROM identity"))
    count = int(identity["partition_count"])
    if wanted not in (None, count):
        raise InvalidSettings(
            f"the log was created with {count} partitions, which is fixed, and the settings ask "
            f"for {wanted}: ask for {count}, or use another data folder"
        )
    numbers = [stream_of(topic, partition) for topic in TOPICS for partition in range(count)]
    return Log(
        identity["log_id"], count, {number: extent(connection, number) for number in numbers}
    )


def stream_of(topic: Topic, partition: int) -> int:
    """Return the number of the stream of a topic and a partition."""
    return TOPICS.index(topic) * PARTITIONS_MAX + partition


def place_of(stream: int, offset: int) -> int:
    """Return the key of a record's row. The rows of a stream lie together and in order."""
    return stream << OFFSET_BITS | offset


def _offset_in(place: int) -> int:
    return place & (OFFSETS - 1)


def headers_text(headers: Headers) -> str:
    """Return the headers as lines `name=value`. Raises ValueError if they cannot be read back."""
    if not headers:
        return ""
    text = "\n".join(map("=".join, headers))
    if text.count("\n") >= len(headers) or [name for name, _ in headers if "=" in name]:
        raise ValueError(
            f"the headers {headers} cannot be stored: use no '=' in a name and no line break"
        )
    return text


def parse_headers(text: str) -> Headers:
    """Return the headers in a text that `headers_text` has made."""
    if not text:
        return ()
    return tuple(
        (name, value) for name, _, value in [line.partition("=") for line in text.split("\n")]
    )


def checksum(key: bytes, value: bytes, headers: bytes) -> int:
    """Return a number by which a record whose bytes have changed on disk is recognised: CRC-32 of
    its key, value and headers.
    """
    return zlib.crc32(headers, zlib.crc32(value, zlib.crc32(key)))


def size_of(record: Record) -> int:
    """Return how many bytes a record counts as, for the limits of batches and hand-overs."""
    return len(record.key) + len(record.value) + 64


def select(connection: sqlite3.Connection, stream: int, offset: int) -> list[Record]:
    """Return one batch of the records that are stored from `offset` on."""
    batch: list[Record] = []
    size = 0
    bounds = (place_of(stream, offset), place_of(stream + 1, 0), BATCH_RECORDS)
    for place, appended_at_ms, key, value, text, written in connection.execute(SELECT, bounds):
        headers = parse_headers(text.decode(errors="replace"))
        record = Record(place & (OFFSETS - 1), appended_at_ms, key, value, headers)
        if written is not None and written != checksum(key, value, text):
            record.decoded = Undecodable("its bytes are not those that were appended")
            log.warning("offset %s is skipped: %s", record.offset, record.decoded)
        size += size_of(record)
        if size > BATCH_BYTES and batch:
            break
        batch.append(record)
    return batch


def extent(connection: sqlite3.Connection, stream: int) -> Extent:
    """Read the extent of a stream. It begins at the first row that is left, even if somebody has
    deleted rows by hand. A stream that was emptied does not use its offsets again.
    """
    start, trimmed_at_ms = connection.execute(
        "SELECT start, appended_at_ms FROM trimmed WHERE stream = ?", (stream,)
    ).fetchone() or (0, 0)
    bounds = (place_of(stream, 0), place_of(stream + 1, 0))
    last = connection.execute(NEWEST, bounds).fetchone()
    if last is None:
        return Extent(start, start, trimmed_at_ms)
    (first,) = connection.execute(OLDEST, bounds).fetchone()
    return Extent(max(start, _offset_in(first)), _offset_in(last[0]) + 1, last[1])


def trim(connection: sqlite3.Connection, stream: int, start: int) -> None:
    """Drop the records below `start`, and remember for ever that there were some."""
    bounds = (place_of(stream, 0), place_of(stream, start))
    newest = connection.execute(NEWEST, bounds).fetchone()
    connection.execute("DELETE FROM records WHERE place >= ? AND place < ?", bounds)
    connection.execute(
        """INSERT INTO trimmed VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET
            start = max(start, excluded.start),
            appended_at_ms = max(appended_at_ms, excluded.appended_at_ms)""",
        (stream, start, newest[1] if newest else 0),
    )


def drop_from(connection: sqlite3.Connection, stream: int, offset: int) -> None:
    """Delete what is left of an append that has failed, from `offset` on."""
    bounds = (place_of(stream, offset), place_of(stream + 1, 0))
    connection.execute("DELETE FROM records WHERE place >= ? AND place < ?", bounds)


def expired_below(
    connection: sqlite3.Connection,
    stream: int,
    offsets: tuple[int, int],
    oldest_ms: int | None,
    bytes_max: int | None,
) -> int:
    """Return the offset below which all records are too old, or have enough bytes after them."""
    start, end = offsets
    bounds = (place_of(stream, start), place_of(stream, end))
    cut = start
    if oldest_ms is not None:
        row = connection.execute(
            """SELECT place FROM records WHERE place >= ? AND place < ? AND appended_at_ms >= ?
            ORDER BY place LIMIT 1""",
            (*bounds, oldest_ms),
        ).fetchone()
        cut = row[0] & (OFFSETS - 1) if row else end
    if bytes_max is not None and stored_bytes(connection) > bytes_max:
        row = connection.execute(
            """SELECT max(place) FROM (SELECT place,
                sum(length(key) + length(value) + length(headers)) OVER (ORDER BY place DESC)
                AS upwards FROM records WHERE place >= ? AND place < ?) WHERE upwards > ?""",
            (*bounds, bytes_max),
        ).fetchone()
        if row[0] is not None:
            cut = max(cut, (row[0] & (OFFSETS - 1)) + 1)
    return cut


def stored_bytes(connection: sqlite3.Connection) -> int:
    """Return how many bytes the pages in use take. No stream has more, so if this is little enough,
    the size of the stream need not be computed.
    """
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (page_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * page_bytes)
