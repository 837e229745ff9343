"""A log that begins above what its readers have: a trim that should not have happened."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.adapters.embedded.history import EmbeddedHistory
from cecochat.domain.log.ids import ChatId, UserId, message_id, stamp_at
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import LogRecord, Origin, State, Takeover, encode
from cecochat.ports.backplane import MESSAGES, NewRecord
from cecochat.ports.history import Hole
from cecochat.servers.materialize.worker import Materializer
from cecochat.v1.events_pb2 import Event, Message
from tests.support.eventually import eventually

CHAT = "d:a~b"
TAKEOVER = Takeover("server", "session", 1)
NOW = stamp_at(time.time_ns() // 1_000_000)


def id_of(number: int) -> int:
    return message_id(NOW + number, 0)


def now_and(ms: int) -> int:
    """The first id of the millisecond that comes so long after this one."""
    return message_id(stamp_at(time.time_ns() // 1_000_000 + ms), 0)


def origin(number: int, epoch: int = 0, place: int | None = None) -> Origin:
    """A message whose text is its number; `place`: its number in its epoch, by default the same."""
    event = Event(
        id=id_of(number),
        chat_id=CHAT,
        user_id="a",
        client_message_id=str(number),
        recipient_ids=["b"],
        message=Message(text=str(number)),
    )
    place = number if place is None else place
    raw = event.SerializeToString()
    return Origin(
        event.id, Place(0, epoch), place, UserId("a"), str(number), (UserId("b"),), raw, event
    )


def state(as_of: int, count: int, epoch: int = 0) -> State:
    return State(as_of, Place(0, epoch), count, NOW + count, {}, id_of(count - 1), groups=())


class Servers:
    """A log of one partition and a history, and a materialize server now and then."""

    def __init__(self, log: EmbeddedBackplane, history: EmbeddedHistory) -> None:
        self.log = log
        self.history = history
        self.registry = CollectorRegistry()

    async def append(self, *records: LogRecord) -> None:
        producer = await self.log.producer()
        await producer.append([NewRecord(0, *encode(record)) for record in records])

    async def cut(self, below: int) -> None:
        """What nobody should do."""
        await self.log.release(MESSAGES, 0, below)
        await self.log.trim()
        assert (await self.log.bounds(MESSAGES, 0))[0] == below

    @asynccontextmanager
    async def materializing(self) -> AsyncGenerator[Materializer]:
        self.registry = CollectorRegistry()
        log_id = await self.log.log_id()
        worker = Materializer(self.log, self.history, log_id, self.registry)
        running = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            running.cancel()
            await asyncio.wait([running])

    async def materialize(self, up_to: int) -> None:
        """Start a server, wait until it is that far, and stop it."""
        async with self.materializing():
            await eventually(lambda: self.is_at(up_to))

    async def is_at(self, offset: int) -> bool:
        return (await self.history.progress(await self.log.log_id())).get(
            0, NOWHERE
        ).offset >= offset

    async def shown(self) -> list[int]:
        page = await self.history.messages(ChatId(CHAT), before=None, after=0, limit=200)
        return [int(Event.FromString(event).message.text) for event in page.events]

    async def holes(self) -> Sequence[Hole]:
        return await self.history.holes()


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncGenerator[Servers]:
    log = await EmbeddedBackplane.open(tmp_path, partition_count=1, retention_bytes=0)
    history = await EmbeddedHistory.open(tmp_path)
    yield Servers(log, history)
    await history.close()
    await log.close()


async def test_all_that_is_left_is_read_and_a_hole_is_told(servers: Servers) -> None:
    await servers.append(TAKEOVER, *map(origin, range(10)))
    await servers.materialize(up_to=10)
    await servers.append(*map(origin, range(10, 20)), state(20, 20), *map(origin, range(20, 25)))
    await servers.cut(below=16)  # 15 is the first that is left: 10 to 14 are gone
    await servers.materialize(up_to=26)
    assert await servers.shown() == [*range(10), *range(15, 25)]
    (hole,) = await servers.holes()
    assert (hole.partition, hole.first_offset, hole.last_offset) == (0, 11, 15)
    assert (hole.reason, hole.chat_id, hole.acknowledged_at_ms) == ("trimmed", "", 0)
    assert hole.first_id == id_of(9) + 1
    assert id_of(14) <= hole.last_id < now_and(240_000), "by the clock of the log"
    assert "11 to 15" in hole.text
    await servers.materialize(up_to=26)
    assert await servers.holes() == [hole], "what is told is not told again"


async def test_what_a_takeover_leaves_unproven_is_not_shown_and_told(servers: Servers) -> None:
    """Of 5 to 7 nobody can say whether their owner was taken over from before."""
    await servers.append(TAKEOVER, *map(origin, range(8)), TAKEOVER)
    await servers.append(*(origin(number, 9, number - 8) for number in range(8, 12)))
    await servers.cut(below=6)
    await servers.materialize(up_to=13)
    assert await servers.shown() == [*range(8, 12)]
    trimmed, unproven = await servers.holes()
    assert (trimmed.reason, trimmed.first_offset, trimmed.last_offset) == ("trimmed", 0, 5)
    assert (unproven.reason, unproven.first_offset, unproven.last_offset) == ("unproven", 6, 8)
    assert (unproven.first_id, unproven.last_id) == (id_of(5), id_of(7))


async def test_where_nothing_tells_yet_what_counts_reading_waits(servers: Servers) -> None:
    """Until a state record does; the hole is told at once."""
    await servers.append(TAKEOVER, *map(origin, range(8)))
    await servers.cut(below=6)
    async with servers.materializing():
        await eventually(lambda: servers.is_at(5))
        await servers.append(*map(origin, range(8, 10)))
        await asyncio.sleep(0.1)
        assert await servers.shown() == []
        assert [hole.reason for hole in await servers.holes()] == ["trimmed"]
        await servers.append(state(9, 9))
        await eventually(lambda: servers.is_at(11))
        await servers.append(origin(10))
        await eventually(lambda: servers.is_at(12))
    assert await servers.shown() == [*range(5, 11)]


async def test_a_log_of_which_nothing_is_left_goes_on_where_its_owner_does(
    servers: Servers,
) -> None:
    """The owner lives: its epoch goes on without a takeover, and without a state record for now."""
    await servers.append(TAKEOVER, *map(origin, range(8)))
    await servers.cut(below=9)
    async with servers.materializing():
        await eventually(lambda: servers.is_at(8))
        await servers.append(origin(8), origin(9), state(10, 10))
        await eventually(lambda: servers.is_at(11))
    assert await servers.shown() == [8, 9]
    (hole,) = await servers.holes()
    assert (hole.first_offset, hole.last_offset, hole.first_id) == (0, 8, 1)
    assert hole.last_id > id_of(7)


async def test_a_trim_of_what_the_history_has_is_none(servers: Servers) -> None:
    await servers.append(TAKEOVER, *map(origin, range(10)), state(10, 10))
    await servers.materialize(up_to=11)
    await servers.cut(below=11)
    await servers.append(origin(10))
    await servers.materialize(up_to=12)
    assert await servers.shown() == [*range(11)]
    assert await servers.holes() == []
