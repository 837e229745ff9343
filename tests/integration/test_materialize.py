"""A materialize server that cannot read the log for a while: the rows come later, all of them."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.adapters.embedded.history import EmbeddedHistory
from cecochat.domain.errors import CecochatError, Trimmed, Unavailable
from cecochat.domain.log.ids import ChatId, UserId, dialog, time_ms
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Origin, State, Takeover, encode
from cecochat.ports.backplane import MATERIALIZE_GROUP, MESSAGES, NewRecord
from cecochat.ports.history import Progress
from cecochat.ports.reading import still_holds
from cecochat.servers.materialize import worker
from cecochat.v1.events_pb2 import Event
from tests.integration.cluster import Cluster, Faults, cluster, user_on
from tests.integration.streams import message
from tests.support.eventually import eventually

SENDER = user_on(1)  # of the partitions that the second member of the group gets
CHAT = dialog(UserId("bob"), UserId(SENDER))


async def stored(servers: Cluster) -> list[str]:
    assert servers.parts.history
    page = await servers.parts.history.messages(CHAT, before=None, after=0, limit=10)
    return [Event.FromString(event).message.text for event in page.events]


async def has(servers: Cluster, texts: list[str]) -> bool:
    return await stored(servers) == texts


@pytest.mark.parametrize("error", [Unavailable, lambda _: Trimmed(1, 0, 1)])
async def test_a_log_that_cannot_be_read_is_read_again(
    tmp_path: Path, error: Callable[[str], CecochatError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "RETRY_S", (0.01,))
    faults = Faults(unavailable={"read"}, error=error)
    async with cluster(tmp_path) as servers:
        await servers.assign("one")
        await servers.start("one")
        parts = servers.parts_with(faults)
        assert parts.history
        second = worker.Materializer(
            parts.backplane, parts.history, await parts.backplane.log_id(), CollectorRegistry()
        )
        running = asyncio.create_task(second.run())
        async with servers.stream("one", SENDER) as stream:
            await stream.send(message("one", CHAT), message("two", CHAT))
            await stream.until_acks(2)
            await eventually(lambda: faults.failed >= 2)
            assert await stored(servers) == []
            faults.unavailable.clear()
            await eventually(lambda: has(servers, ["one", "two"]))
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()


async def test_who_waits_for_the_database_says_how_far_it_is_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LAG_EVERY_S", 0.02)

    async def away(_: object, log_id: str) -> dict[int, Place]:
        raise Unavailable("the database is away")

    async with cluster(tmp_path) as servers:
        await servers.assign("one")
        await servers.start("one")
        parts, registry = servers.parts, CollectorRegistry()
        assert parts.history
        monkeypatch.setattr(type(parts.history), "progress", away)
        second = worker.Materializer(
            parts.backplane, parts.history, await parts.backplane.log_id(), registry
        )
        running = asyncio.create_task(second.run())
        await eventually(lambda: second.not_ready)
        async with servers.stream("one", SENDER) as stream:
            await stream.send(*(message(str(number), CHAT) for number in range(9)))
            await stream.until_acks(9)
        lag = "cecochat_materialize_lag_records"
        await eventually(lambda: (registry.get_sample_value(lag) or 0) >= 9)
        running.cancel()
        await asyncio.wait([running])
        assert second.not_ready is None


async def test_who_waits_with_rows_says_how_old_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "RETRY_S", (0.01,))
    async with cluster(tmp_path) as servers:
        await servers.assign("one")
        await servers.start("one")
        parts, registry = servers.parts, CollectorRegistry()
        assert parts.history
        write = type(parts.history).write
        second = worker.Materializer(
            parts.backplane, parts.history, await parts.backplane.log_id(), registry
        )
        running = asyncio.create_task(second.run())
        await eventually(lambda: registry.get_sample_value("cecochat_partitions_materialized"))

        async def away(*_: object) -> None:
            raise Unavailable("the database is away")

        monkeypatch.setattr(type(parts.history), "write", away)
        begun_s = time.time()
        async with servers.stream("one", SENDER) as stream:
            await stream.send(message("one", CHAT))
            await stream.until_acks(1)

        def lag_s() -> float:
            return registry.get_sample_value("cecochat_materialize_lag_seconds") or 0

        await eventually(lambda: lag_s() > 0.05)
        assert lag_s() <= time.time() - begun_s + 0.01
        monkeypatch.setattr(type(parts.history), "write", write)
        await eventually(lambda: lag_s() == 0)
        await eventually(lambda: has(servers, ["one"]))
        running.cancel()
        await asyncio.wait([running])


async def test_a_write_under_way_ends_before_its_partition_goes_to_another() -> None:
    begun, done = asyncio.Event(), asyncio.Event()

    async def write() -> None:
        begun.set()
        await asyncio.sleep(0.05)
        done.set()

    working = asyncio.create_task(worker._finished(write()))
    await begun.wait()
    working.cancel()
    await asyncio.wait([working])
    assert working.cancelled()
    assert done.is_set()


# -- a log that is written by hand

BEGAN_MS = 1_700_000_000_000
TAKEOVER = NewRecord(0, *encode(Takeover("server", "session", 1)))
UNREADABLE = NewRecord(0, b"", b"", (("kind", "unheard of"), ("v", "1")))


def origin(number: int, id_: int) -> NewRecord:
    """Of the takeover at offset 0."""
    event = Event(id=id_, user_id="alice", chat_id="d:alice~bob", recipient_ids=["bob"])
    event.message.text = str(id_)
    value = event.SerializeToString()
    record = Origin(
        id_, Place(BEGAN_MS, 0), number, UserId("alice"), "", (UserId("bob"),), value, event
    )
    return NewRecord(0, *encode(record))


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[EmbeddedBackplane]:
    log = await EmbeddedBackplane.open(folder, partition_count=1, retention_bytes=0)
    try:
        yield log
    finally:
        await log.close()


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[EmbeddedHistory]:
    history = await EmbeddedHistory.open(tmp_path)
    yield history
    await history.close()


async def append(log: EmbeddedBackplane, at_ms: int, *records: NewRecord) -> None:
    log._appends._clock = lambda: at_ms / 1_000
    producer = await log.producer()
    await producer.append(records)
    await producer.close()


@asynccontextmanager
async def materializing(log: EmbeddedBackplane, history: EmbeddedHistory) -> AsyncIterator[None]:
    """A server runs meanwhile."""
    server = worker.Materializer(log, history, await log.log_id(), CollectorRegistry())
    running = asyncio.create_task(server.run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait([running])


async def materialized(log: EmbeddedBackplane, history: EmbeddedHistory, offset: int) -> Place:
    """A server runs until the history has read the log up to there."""
    log_id = await log.log_id()

    async def place() -> Place:
        return (await history.progress(log_id)).get(0, NOWHERE)

    async def reached() -> bool:
        return (await place()).offset == offset

    async with materializing(log, history):
        await eventually(reached)
    return await place()


async def ids_in(history: EmbeddedHistory) -> list[int]:
    page = await history.messages(ChatId("d:alice~bob"), before=None, after=0, limit=10)
    return [Event.FromString(event).id for event in page.events]


async def test_a_log_that_lost_its_end_is_read_again(
    tmp_path: Path, history: EmbeddedHistory
) -> None:
    """An older copy of its folder, in which the offsets are given again."""
    former = tmp_path / "former"
    async with opened(tmp_path / "log") as log:
        await append(log, BEGAN_MS, TAKEOVER, origin(0, 1))
    shutil.copytree(tmp_path / "log", former)
    async with opened(tmp_path / "log") as log:
        await append(log, BEGAN_MS + 5, *(origin(number, number + 1) for number in range(1, 6)))
        assert await materialized(log, history, 6) == Place(BEGAN_MS + 5, 6)
    async with opened(former) as log:
        await append(log, BEGAN_MS + 9, origin(1, 11), origin(2, 12))
        assert await materialized(log, history, 3) == Place(BEGAN_MS + 9, 3)
    assert await ids_in(history) == [1, 2, 3, 4, 5, 6, 11, 12]
    (hole,) = await history.holes()
    assert (hole.reason, hole.first_offset, hole.last_offset) == ("lost", 2, 6)
    assert hole.first_id == 7, "what is here is not missing"


# -- what shows that it has lost its end: each alone, and all of them

LOST = Place(BEGAN_MS + 5, 6)
"""A place of before, in a log that ends at offset 2 and goes on at `BEGAN_MS + 9`."""


@asynccontextmanager
async def lost(folder: Path, says: Takeover) -> AsyncIterator[EmbeddedBackplane]:
    async with opened(folder) as log:
        await append(log, BEGAN_MS, TAKEOVER, origin(0, 1))
        await append(log, BEGAN_MS + 9, NewRecord(0, *encode(says)))
        yield log


async def commit(log: EmbeddedBackplane) -> None:
    """As one who had read up to it."""
    after = LOST._replace(offset=LOST.offset + 1)
    await log.commit(MATERIALIZE_GROUP, MESSAGES, {0: after})


QUIET, TELLING = Takeover("server", "later", 2), Takeover("server", "later", 2, lost=LOST)


@pytest.mark.parametrize(
    ("reached", "committed", "takeover"),
    [(True, False, QUIET), (False, True, QUIET), (False, False, TELLING), (True, True, TELLING)],
)
async def test_an_end_that_is_lost_is_told_once_whatever_shows_it(
    tmp_path: Path, history: EmbeddedHistory, reached: bool, committed: bool, takeover: Takeover
) -> None:
    async with lost(tmp_path, takeover) as log:
        if reached:
            await history.write([], [], Progress(await log.log_id(), 0, LOST.offset, LOST.clock_ms))
        for _ in range(2):
            if committed:
                await commit(log)
            await materialized(log, history, 2)
        (hole,) = await history.holes()
    assert (hole.reason, hole.first_offset, hole.last_offset) == ("lost", 2, 6)
    assert hole.first_id <= 2
    assert time_ms(hole.last_id) >= BEGAN_MS + 9


async def test_an_end_that_is_lost_again_is_told_again(
    tmp_path: Path, history: EmbeddedHistory
) -> None:
    """At the same offset, after as much had come."""
    async with lost(tmp_path, TELLING) as log:
        await materialized(log, history, 2)
        (first,) = await history.holes()
        again = Takeover("server", "last", 3, lost=Place(BEGAN_MS + 20, 3))
        await append(log, BEGAN_MS + 30, NewRecord(0, *encode(again)))
        await materialized(log, history, 3)
        assert [each for each in await history.holes() if each != first]


async def test_what_is_still_there_alarms_nobody(tmp_path: Path, history: EmbeddedHistory) -> None:
    """Also where it was dropped since by retention."""
    async with opened(tmp_path) as log:
        await append(log, BEGAN_MS, TAKEOVER, origin(0, 1), origin(1, 2))
        await materialized(log, history, 2)
        await log.commit(MATERIALIZE_GROUP, MESSAGES, {0: Place(BEGAN_MS, 3)})
        await log.release(MESSAGES, 0, 3)
        await log.trim()
        state = State(2, Place(BEGAN_MS, 0), 2, 0, {}, clock_ms=BEGAN_MS)
        await append(log, BEGAN_MS + 9, NewRecord(0, *encode(state)), TAKEOVER)
        await materialized(log, history, 4)
        assert await history.holes() == []


async def test_a_history_that_lags_behind_retention_goes_on_where_the_log_begins(
    tmp_path: Path, history: EmbeddedHistory
) -> None:
    async with opened(tmp_path) as log:
        await append(log, BEGAN_MS, *[TAKEOVER] * 5)
        await history.write([], [], Progress(await log.log_id(), 0, 2, BEGAN_MS))
        await log.commit(MATERIALIZE_GROUP, MESSAGES, {0: Place(0, 5)})
        await log.release(MESSAGES, 0, 5)
        await log.trim()
        assert await log.bounds(MESSAGES, 0) == (5, 5)
        state = State(4, Place(BEGAN_MS, 4), 0, 0, {}, clock_ms=BEGAN_MS)
        await append(log, BEGAN_MS + 1, NewRecord(0, *encode(state)), TAKEOVER)
        assert await materialized(log, history, 6) == Place(BEGAN_MS + 1, 6)


async def test_what_was_reached_with_a_record_that_nobody_can_read_still_holds(
    tmp_path: Path, history: EmbeddedHistory
) -> None:
    """Else the whole log would be read again, as one that has lost its end."""
    async with opened(tmp_path) as log:
        await append(log, BEGAN_MS, TAKEOVER, origin(0, 1))
        await append(log, BEGAN_MS + 5, UNREADABLE)
        reached = await materialized(log, history, 2)
        assert await still_holds(log, 0, reached)
