"""What a history database costs: writes in batches, pages, lists of chats; no servers around it.

    python -m tests.bench.history_rows HOST:PORT [PID]

PID is that of the database's process: its CPU time is measured too. The keyspace `bench_history` is
dropped before and left afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Iterator

from cecochat.adapters.cassandra.history import CassandraHistory
from cecochat.adapters.cassandra.settings import CassandraSettings
from cecochat.domain.log.ids import ChatId, UserId, message_id, stamp_at
from cecochat.ports.history import History, MessageRow, Progress
from tests.bench.meter import cpu_s, percentiles_ms

EVENT_BYTES = 300
BATCH = 1_000
DAY_MS = 24 * 3_600 * 1_000


def messages(users: int, count: int) -> Iterator[MessageRow]:
    """Between random pairs of users, one a millisecond, up to now."""
    begin = time.time_ns() // 1_000_000 - count
    for number in range(count):
        sender, recipient = random.sample(range(users), 2)
        low, high = sorted((f"user{sender}", f"user{recipient}"))
        id_ = message_id(stamp_at(begin + number), sender % 60)
        event = random.randbytes(EVENT_BYTES)
        yield MessageRow(
            id_,
            ChatId(f"d:{low}~{high}"),
            UserId(f"user{sender}"),
            (UserId(f"user{recipient}"),),
            event,
        )


def long_chat(count: int, days: int) -> Iterator[MessageRow]:
    """A dialog spread evenly over the last days."""
    begin = time.time_ns() // 1_000_000 - days * DAY_MS
    for number in range(count):
        id_ = message_id(stamp_at(begin + number * days * DAY_MS // count), 1)
        yield MessageRow(
            id_,
            ChatId("d:x~y"),
            UserId("xy"[number % 2]),
            (UserId("yx"[number % 2]),),
            random.randbytes(300),
        )


async def write(history: History, rows: Iterator[MessageRow], writers: int) -> int:
    """By so many partitions at once, a batch each."""
    written = 0

    async def partition(number: int) -> None:
        nonlocal written
        for offset in itertools.count():
            batch = list(itertools.islice(rows, BATCH))
            if not batch:
                return
            await history.write(batch, [], Progress("bench", number, offset))
            written += len(batch)

    async with asyncio.TaskGroup() as tasks:
        for number in range(writers):
            tasks.create_task(partition(number))
    return written


async def measured(pid: int | None, what: str, work: Awaitable[int]) -> None:
    server, own, wall = cpu_s(pid) if pid else 0, time.process_time(), time.perf_counter()
    count = await work
    wall, own = time.perf_counter() - wall, time.process_time() - own
    server = (cpu_s(pid) if pid else 0) - server
    print(
        f"{what:44} {count / wall:8.0f}/s  {own / count * 1e3:6.3f} ms CPU"
        f"  {server / count * 1e3:6.3f} ms of the database"
    )


async def repeated(what: str, call: Callable[[], Awaitable[object]], times: int) -> int:
    taken_s = []
    for _ in range(times):
        begin = time.perf_counter()
        await call()
        taken_s.append(time.perf_counter() - begin)
    print(f"{what:44} {percentiles_ms(taken_s)}")
    return times


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("pid", type=int, nargs="?")
    parser.add_argument("--messages", type=int, default=20_000)
    parser.add_argument("--batch-bytes", type=int)
    parser.add_argument("--batch-partitions", type=int)
    asked = parser.parse_args()
    batches = {
        name: value
        for name in ("batch_bytes", "batch_partitions")
        if (value := getattr(asked, name)) is not None
    }
    settings = CassandraSettings((asked.address,), namespace="bench_history", **batches)
    history = await CassandraHistory.open(settings)
    count = asked.messages
    try:
        for users, writers in ((20, 1), (2_000, 1), (2_000, 8)):
            rows = messages(users, count)
            what = f"write, {users} users, {writers} writers"
            await measured(asked.pid, what, write(history, rows, writers))
        await write(history, long_chat(5_000, 60), 1)

        def page() -> Awaitable[object]:
            return history.messages(ChatId("d:x~y"), before=None, after=None, limit=50)

        def old_page() -> Awaitable[object]:
            at = time.time_ns() // 1_000_000 - 30 * DAY_MS
            return history.messages(
                ChatId("d:x~y"), before=message_id(stamp_at(at), 0), after=None, limit=50
            )

        def chats() -> Awaitable[object]:
            return history.chats(UserId(f"user{random.randrange(2_000)}"), before=None, limit=50)

        for what, call, times in (
            ("page of 50, newest", page, 1_000),
            ("page of 50, 30 days old", old_page, 1_000),
            ("chats, up to 50 of a user", chats, 100),
        ):
            await measured(asked.pid, what, repeated(what, call, times))
    finally:
        await history.close()


if __name__ == "__main__":
    asyncio.run(main())
