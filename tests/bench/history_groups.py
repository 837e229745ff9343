"""What groups of 10 to 10,000 members cost the history: rows, and how long queries take.

    python -m tests.bench.history_groups [HOST:PORT]

Without an address, the history is on SQLite. The keyspace `bench_groups` is dropped before and left
afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from typing_extensions import override

from cecochat.adapters.cassandra.history import CassandraHistory
from cecochat.adapters.cassandra.settings import CassandraSettings
from cecochat.adapters.embedded.history import EmbeddedHistory
from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.log.ids import UserId, message_id, stamp_at
from cecochat.ports.history import History, Progress
from cecochat.v1.events_pb2 import GroupOptions, Membership
from tests.bench.meter import percentiles_ms
from tests.contract.openers.cassandra import drop_keyspace
from tests.support.groups import GroupWorld

PARTITIONS = 60
SIZES = (10, 100, 1_000, 10_000)
MESSAGES = 1_000
QUERIES = 50
AT_ONCE = 100  # people whom a change adds
BEGAN = stamp_at(time.time_ns() // 1_000_000 - 3_600_000)


class Timed(GroupWorld):
    """A group whose events were an hour ago, one a millisecond."""

    @override
    def next_id(self) -> int:
        return message_id(BEGAN + (len(self.rows) << 10), self.home)


def group_of(chat: str, users: list[str]) -> Timed:
    at = {user: partition_of(UserId(user), PARTITIONS) for user in users}
    return Timed(chat, partition_of(UserId(chat), PARTITIONS), at)


async def written(history: History, what: str, group: GroupWorld, first: int) -> None:
    """The rows from `first` on."""
    begun_s = time.perf_counter()
    await history.write(group.rows[first:], [], Progress("bench", group.home, len(group.rows)))
    print(f"{what}: written in {(time.perf_counter() - begun_s) * 1_000:.0f} ms", flush=True)


async def timed(what: str, query: Callable[[], Awaitable[object]], times: int = QUERIES) -> None:
    took_s = []
    for _ in range(times):
        begun_s = time.perf_counter()
        await query()
        took_s.append(time.perf_counter() - begun_s)
    print(f"{what}: {percentiles_ms(took_s)}", flush=True)


async def measure(history: History, size: int) -> None:
    """A group of that size, in which 50 members write."""
    users = [f"u{size}.{number}" for number in range(size)]
    group = group_of(f"g:{size}", users)
    group.change(users[0], Membership(options=GroupOptions(name="Us")))
    for at in range(1, size, AT_ONCE):
        group.change(users[0], Membership(added_ids=users[at : at + AT_ONCE]))
    await written(history, f"{size} members", group, 0)
    changes = len(group.rows)
    for number in range(MESSAGES):
        group.say(users[number % min(size, 50)])
    await written(history, f"{MESSAGES} messages to {size}", group, changes)
    await ask(history, group, UserId(users[-1]))


async def ask(history: History, group: GroupWorld, user: UserId) -> None:
    chat_id, last = group.chat_id, group.rows[-1].message_id
    size, groups, home = len(group.partition_of), history.groups, group.home

    async def all_groups() -> int:
        return len([each async for each in groups.homed_in(home, last)])

    async def all_residents() -> int:
        residents = groups.living_in(group.partition_of[user], {home: last})
        return len([each async for each in residents])

    await timed(f"{size}: what a member sees", lambda: groups.seen(user, chat_id))
    await timed(f"{size}: 50 members", lambda: groups.people(chat_id, at=last, after="", limit=50))
    await timed(
        f"{size}: a list of one chat, {MESSAGES} unread",
        lambda: history.chats(user, before=None, limit=50),
    )
    await timed(f"{size}: the groups of its home", all_groups, 5)
    await timed(f"{size}: the residents of a partition", all_residents, 5)


async def measure_lists(history: History) -> None:
    """Of somebody who is in 200 groups."""
    for number in range(200):
        group = group_of(f"g:of-{number}", ["many"])
        group.change("many", Membership(options=GroupOptions(name="Us")))
        for _ in range(20):
            group.say("another")
        await history.write(group.rows, [], Progress("bench", group.home, len(group.rows)))
    many = UserId("many")
    await timed("50 of 200 groups", lambda: history.chats(many, before=None, limit=50))


@asynccontextmanager
async def opened(address: str | None) -> AsyncIterator[History]:
    history: History
    if address:
        settings = CassandraSettings((address,), namespace="bench_groups")
        await drop_keyspace(settings)
        history = await CassandraHistory.open(settings)
    else:
        history = await EmbeddedHistory.open(Path(tempfile.mkdtemp()))
    try:
        yield history
    finally:
        await history.close()


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", nargs="?")
    async with opened(parser.parse_args().address) as history:
        for size in SIZES:
            await measure(history, size)
        await measure_lists(history)


if __name__ == "__main__":
    asyncio.run(main())
