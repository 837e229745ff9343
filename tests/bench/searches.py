"""What the search costs, in SQLite and in PostgreSQL: to index a message, beside storing it in the
history, and to find among many.

    python -m tests.bench.searches [MESSAGES] [--postgres HOST:PORT]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from cecochat.adapters.embedded.history import EmbeddedHistory
from cecochat.adapters.embedded.search import EmbeddedSearch
from cecochat.adapters.postgres import connection
from cecochat.adapters.postgres.search import PostgresSearch
from cecochat.adapters.postgres.settings import PostgresSettings
from cecochat.domain.log.ids import ChatId, UserId, dialog, message_id, stamp_at
from cecochat.domain.search.entries import entries_of
from cecochat.ports.backplane import Log
from cecochat.ports.history import MessageRow, Progress
from cecochat.ports.search import Search
from cecochat.sealing.keyring import KeyRing
from cecochat.sealing.opening import Opening
from cecochat.servers.history.queries import Queries
from cecochat.servers.history.searching import Searching
from cecochat.telemetry.tracing import OFF
from cecochat.v1.events_pb2 import Event, Message
from cecochat.v1.history_pb2 import SearchMessagesRequest, SearchMessagesResponse
from tests.bench.meter import percentiles_ms
from tests.support.texts import real_texts

USERS = 300
BATCH = 50
TEXT_MAX = 300  # characters: what people write in chats
TIMES = 200
LOOKED_FOR = (
    "the",
    "class method",
    "import",
    "exception handler",
    "nothing such",
    "ex",
    "python 3",
)
LOG_ID = "bench"
NAMESPACE = "bench_search"


def messages(count: int) -> list[MessageRow]:
    """Between random pairs of users, one a millisecond, up to now."""
    begin_ms = time.time_ns() // 1_000_000 - count
    texts = [text for text in real_texts() if len(text) <= TEXT_MAX]
    rows = []
    for number in range(count):
        sender, recipient = (UserId(f"user{n}") for n in random.sample(range(USERS), 2))
        id_ = message_id(stamp_at(begin_ms + number), 0)
        chat_id, text = dialog(sender, recipient), random.choice(texts)
        event = Event(id=id_, chat_id=chat_id, user_id=sender, message=Message(text=text))
        value = event.SerializeToString()
        rows.append(MessageRow(id_, ChatId(chat_id), sender, (recipient,), value))
    return rows


async def stored(history: EmbeddedHistory, rows: Sequence[MessageRow]) -> float:
    """The CPU time of all threads in s."""
    begun_s = time.process_time()
    for at in range(0, len(rows), BATCH):
        await history.write(rows[at : at + BATCH], [], Progress(LOG_ID, 0, at + BATCH))
    return time.process_time() - begun_s


async def indexed(search: Search, rows: Sequence[MessageRow]) -> tuple[float, float]:
    """The CPU time of this process and the time that it took, in s."""
    turn = await search.clear()
    begun_s, cpu_s = time.perf_counter(), time.process_time()
    for at in range(0, len(rows), BATCH):
        entries = entries_of(row.event for row in rows[at : at + BATCH])
        await search.write(entries, Progress(LOG_ID, 0, at + BATCH), turn)
    return time.process_time() - cpu_s, time.perf_counter() - begun_s


async def searched(searching: Searching, text: str) -> str:
    taken_s, found, used_s = [], 0, time.process_time()
    for number in range(TIMES):
        begun_s = time.perf_counter()
        request = SearchMessagesRequest(text=text)
        answer = await searching.messages(UserId(f"user{number % USERS}"), request)
        taken_s.append(time.perf_counter() - begun_s)
        found += len(SearchMessagesResponse.FromString(answer).messages)
    at = percentiles_ms(taken_s)
    used_ms = (time.process_time() - used_s) / TIMES * 1_000
    times = f"p50 {at['p50_ms']:6.1f}  p99 {at['p99_ms']:6.1f}  CPU {used_ms:5.1f} ms"
    return f"{text!r:20} {found / TIMES:5.1f} found  {times}"


async def embedded(folder: Path, history: EmbeddedHistory, rows: Sequence[MessageRow]) -> None:
    search = await EmbeddedSearch.open(folder)
    await measured(search, history, rows)
    await search.database.empty_wal()
    size = (folder / "search.db").stat().st_size
    print(f"  on the disk: {size / len(rows):.0f} bytes a message")
    await search.close()


async def in_postgres(address: str, history: EmbeddedHistory, rows: Sequence[MessageRow]) -> None:
    """In a schema of its own."""
    settings = PostgresSettings((address,), NAMESPACE)
    search = await PostgresSearch.open(settings)
    await measured(search, history, rows)
    opened = await connection.single(settings)
    size = await opened.fetchval("SELECT pg_total_relation_size('texts')")
    print(f"  on the disk: {size / len(rows):.0f} bytes a message")
    await opened.execute(f"DROP SCHEMA {NAMESPACE} CASCADE")
    await opened.close()
    await search.close()


async def measured(search: Search, history: EmbeddedHistory, rows: Sequence[MessageRow]) -> None:
    print(type(search).__name__)
    cpu_s, took_s = await indexed(search, rows)
    count = len(rows)
    print(f"  to index one: {cpu_s / count * 1e6:.1f} µs of CPU here; {count / took_s:,.0f}/s")
    log = Log(cast("Any", None), LOG_ID, 1)
    opening = Opening(KeyRing(cast("Any", None), b"secret"))  # nothing is sealed here
    searching = Searching(history, search, log, Queries(history, opening, log, OFF))
    for text in LOOKED_FOR:
        print(f"  {await searched(searching, text)}")
    begun_s = time.perf_counter()
    await search.forget([UserId("user1")])
    await search.purge()
    print(f"  to forget a user: {time.perf_counter() - begun_s:.2f} s")


async def main(count: int, postgres: str) -> None:
    rows = messages(count)
    with tempfile.TemporaryDirectory() as folder:
        history = await EmbeddedHistory.open(Path(folder))
        storing_s = await stored(history, rows)
        print(f"{count} messages of {TEXT_MAX} characters at most, {BATCH} in a batch")
        print(f"to store one: {storing_s / count * 1e6:.1f} µs of CPU")
        await history.database.empty_wal()
        size = (Path(folder) / "history.db").stat().st_size
        print(f"history.db: {size / count:.0f} bytes a message")
        await embedded(Path(folder), history, rows)
        if postgres:
            await in_postgres(postgres, history, rows)
        await history.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("messages", type=int, nargs="?", default=100_000)
    parser.add_argument("--postgres", default="", metavar="HOST:PORT", help="measure it as well")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.messages, arguments.postgres))
