"""Partitions that move, owners that do not notice, appends that fail: nothing lost or twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from itertools import cycle
from pathlib import Path

import pytest

from cecochat.domain.errors import CecochatError, Trimmed, Unavailable
from cecochat.domain.log.ids import UserId, dialog
from cecochat.domain.log.place import Place
from cecochat.ports.backplane import MESSAGES
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import Position
from tests.integration.cluster import Cluster, cluster, user_on
from tests.integration.streams import Ended, Stream, delivered_texts, message
from tests.support import operators
from tests.support.eventually import eventually

ALICE = user_on(0, "alice")
BOB = user_on(1, "bob")
CHAT = dialog(UserId(ALICE), UserId(BOB))
# Unspecified: gRPC tells no reason where a write meets the end of the stream.
GO_ON = {"MOVED", "UNAVAILABLE", "WRONG_SERVER", "DRAINING", "CATCH_UP", "UNSPECIFIED"}


def check_goes_on(ended: Ended) -> None:
    """A client comes back after such an end."""
    if ended.code not in GO_ON:
        raise ended


@asynccontextmanager
async def somewhere(
    servers: Cluster, user: str, position: Position | None
) -> AsyncIterator[Stream]:
    """A stream to whichever server takes that user."""
    async with asyncio.timeout(60) as within:
        for server_id in cycle(list(servers.servers)):
            try:
                async with servers.stream(server_id, user, position) as stream:
                    within.reschedule(None)
                    yield stream
                    return
            except Ended as ended:
                check_goes_on(ended)
                await asyncio.sleep(0.01)


async def talk(
    servers: Cluster, count: int, accepted: dict[str, int] | None = None
) -> dict[str, int]:
    """Alice sends messages one after the other, each again until it is known to be accepted; their
    ids, which are put into `accepted` as they come.
    """
    position: Position | None = None
    accepted = {} if accepted is None else accepted
    while len(accepted) < count:
        async with somewhere(servers, ALICE, position) as stream:
            try:
                note(accepted, stream)
                while len(accepted) < count:
                    unsent = [f"m{n}" for n in range(count) if f"m{n}" not in accepted]
                    await stream.send(*(message(each, CHAT) for each in unsent[:5]))
                    while unsent[0] not in accepted:
                        await stream.next()
                        note(accepted, stream)
            except Ended as ended:
                check_goes_on(ended)
            note(accepted, stream)
            position = stream.position
    return accepted


def note(accepted: dict[str, int], stream: Stream) -> None:
    for item in stream.items:
        if item.HasField("ack"):
            known = accepted.setdefault(item.ack.client_message_id, item.ack.message_id)
            assert known == item.ack.message_id
        elif item.HasField("delivered") and item.delivered.event.user_id == ALICE:
            event = item.delivered.event
            assert accepted.setdefault(event.client_message_id, event.id) == event.id


async def listen(servers: Cluster, count: int, listening: asyncio.Event) -> list[str]:
    """What bob is delivered, over all his streams, from before the first message."""
    position: Position | None = None
    texts: list[str] = []
    while len(texts) < count:
        async with somewhere(servers, BOB, position) as stream:
            listening.set()
            try:
                while len(texts) + len(delivered_texts(stream.items)) < count:
                    await stream.next()
            except Ended as ended:
                check_goes_on(ended)
            texts += delivered_texts(stream.items)
            position = stream.position
    return texts


async def stored(servers: Cluster, count: int) -> list[str]:
    """The chat in the history once it has at least so many messages."""
    assert servers.parts.history
    async with asyncio.timeout(60):
        while True:
            page = await servers.parts.history.messages(CHAT, before=None, after=0, limit=1_000)
            if len(page.events) >= count:
                return [Event.FromString(event).message.text for event in page.events]
            await asyncio.sleep(0.02)


async def until_in_log(servers: Cluster, partition: int, text: bytes) -> None:
    async with asyncio.timeout(60):
        async with aclosing(servers.parts.backplane.read(MESSAGES, partition, 0)) as batches:
            async for batch in batches:
                if any(text in record.value for record in batch):
                    return


async def test_partitions_move_under_traffic(tmp_path: Path, kafka: str) -> None:
    count = 200
    async with cluster(tmp_path, kafka) as servers:
        await servers.assign("one", "two")
        await servers.start("one")
        await servers.start("two")
        listening = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            heard = group.create_task(listen(servers, count, listening))
            await listening.wait()
            accepted: dict[str, int] = {}
            sent = group.create_task(talk(servers, count, accepted))
            moves = [("two", "one"), ("two", "two"), ("one", "one"), ("one", "two")] * 2
            for number, owners in enumerate(moves):
                after = number * count // len(moves)
                await eventually(lambda after=after: len(accepted) >= after, 60)  # type: ignore[misc]
                await servers.assign(*owners)
        expected = [f"m{n}" for n in range(count)]
        assert heard.result() == expected
        assert await stored(servers, count) == expected
        assert len(set(sent.result().values())) == count


@pytest.mark.parametrize("how", ["lost", "landed"])
async def test_an_append_that_fails_is_a_takeover(tmp_path: Path, how: str, kafka: str) -> None:
    count = 60
    async with cluster(tmp_path, kafka) as servers:
        await servers.assign("one")
        faults = await servers.start("one")
        listening = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            heard = group.create_task(listen(servers, count, listening))
            await listening.wait()
            sent = group.create_task(talk(servers, count))
            for _ in range(5):
                faults.fail_append = how
                await eventually(lambda: faults.fail_append is None or sent.done())
        assert faults.failed >= 2
        expected = [f"m{n}" for n in range(count)]
        assert heard.result() == expected
        assert await stored(servers, count) == expected


async def test_a_start_gets_over_a_takeover_that_fails(tmp_path: Path) -> None:
    async with cluster(tmp_path) as servers:
        await servers.assign("one")
        log = servers.parts.backplane
        original = log.producer
        failures = iter([True, False, True])

        async def producer(topic: str = "messages") -> object:
            made = await original()
            if next(failures, False):
                await made.close()  # every append of it fails
            return made

        log.producer = producer  # type: ignore[method-assign, assignment]
        async with asyncio.timeout(60):
            await servers.start("one")
        async with servers.stream("one", ALICE), servers.stream("one", BOB):
            pass


async def test_a_zombie_is_fenced(tmp_path: Path, kafka: str) -> None:
    async with cluster(tmp_path, kafka) as servers:
        await servers.assign("one")
        zombie = await servers.start("one")
        await servers.start("two")
        async with servers.stream("one", ALICE) as alice, servers.stream("one", BOB) as bob:
            await alice.send(message("before", CHAT))
            await alice.until_acks(1)
            await bob.until_texts(1)
            zombie.watching.clear()
            zombie.reading.clear()
            await servers.assign("two")
            async with somewhere_at(servers, "two", ALICE, alice.position) as again:
                await alice.send(message("void", CHAT))  # the zombie appends it
                await until_in_log(servers, 0, b"void")
                await again.send(message("after", CHAT))
                await again.until_acks(1)
            zombie.reading.set()
            assert (await alice.ended()).code == "MOVED"
            assert len([i for i in alice.items if i.HasField("ack")]) == 1
            assert (await bob.ended()).code == "MOVED"
            zombie.watching.set()
        async with somewhere_at(servers, "two", ALICE, alice.position) as alice:
            await alice.send(message("void", CHAT))
            await alice.until_acks(1)
        async with somewhere_at(servers, "two", BOB, bob.position) as late:
            assert await late.until_texts(2) == ["after", "void"]
        assert await stored(servers, 3) == ["before", "after", "void"]
        assert await metric(servers, "two", 'cecochat_records_void_total{kind="origin"}') == 1


async def test_how_long_the_log_takes_nothing_is_seen(tmp_path: Path, kafka: str) -> None:
    wait, queued = "cecochat_append_wait_seconds", 'cecochat_queue_bytes{queue="append"}'
    async with cluster(tmp_path, kafka) as servers:
        await servers.assign("one")
        faults = await servers.start("one")
        async with servers.stream("one", ALICE) as alice:
            faults.appending.clear()
            await alice.send(message("first", CHAT))

            async def waits() -> bool:
                return await metric(servers, "one", wait) > 0.05

            await eventually(waits)
            await alice.send(message("second", CHAT))

            async def is_queued() -> bool:
                return await metric(servers, "one", queued) > 0

            await eventually(is_queued)
            faults.appending.set()
            await alice.until_acks(2)

            async def is_over() -> bool:
                return not (
                    await metric(servers, "one", wait) + await metric(servers, "one", queued)
                )

            await eventually(is_over)


async def metric(servers: Cluster, server_id: str, line: str) -> float:
    """Its value; `line` is its name with labels."""
    url = servers.servers[server_id].health_url
    async with operators.client() as client:
        text = (await client.get(f"{url}/metrics")).text
    (value,) = [each.split()[-1] for each in text.splitlines() if each.startswith(f"{line} ")]
    return float(value)


@asynccontextmanager
async def somewhere_at(
    servers: Cluster, server_id: str, user: str, position: Position | None
) -> AsyncIterator[Stream]:
    """A stream to that server as soon as it takes the user."""
    async with asyncio.timeout(60) as within:
        while True:
            try:
                async with servers.stream(server_id, user, position) as stream:
                    within.reschedule(None)
                    yield stream
                    return
            except Ended as ended:
                check_goes_on(ended)
                await asyncio.sleep(0.01)


async def test_assigned_away_and_back_at_once(tmp_path: Path, kafka: str) -> None:
    """The old ownership may still be ending when the new one has begun."""
    async with cluster(tmp_path, kafka) as servers:
        await servers.assign("one")
        faults = await servers.start("one")
        for _ in range(5):
            async with servers.stream("one", ALICE) as alice:
                faults.appending.clear()
                await alice.send(message("m", CHAT))
                await servers.put_assignment({})
                assert (await alice.ended()).code == "MOVED"
                await servers.assign("one")
                faults.appending.set()
            async with somewhere_at(servers, "one", ALICE, alice.position) as alice:
                await alice.send(message("m", CHAT))
                await alice.until_acks(1)
        assert await stored(servers, 1) == ["m"]


@pytest.mark.parametrize("document", [{"0": 7}, {"first": "one"}, {"-1": "one"}, {"4": "one"}])
async def test_an_assignment_that_is_not_valid_changes_nothing(
    tmp_path: Path, document: dict[str, object]
) -> None:
    async with cluster(tmp_path) as servers:
        await servers.assign("one")
        await servers.start("one")
        async with servers.stream("one", ALICE) as alice:
            await servers.put_assignment(document)

            async def is_refused() -> bool:
                return await metric(servers, "one", "cecochat_assignment_refused_total") == 1

            await eventually(is_refused)
            await servers.assign("one")
            await alice.send(message("m", CHAT))
            await alice.until_acks(1)


@pytest.mark.parametrize("method", ["commit", "committed"])
async def test_watermarks_that_cannot_be_stored_disturb_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr("cecochat.servers.messaging.watermarks.RELEASE_EVERY", 1)
    async with cluster(tmp_path) as servers:
        await servers.assign("one")
        faults = await servers.start("one")
        async with servers.stream("one", ALICE) as alice:
            faults.unavailable.add(method)
            await alice.send(message("m1", CHAT))
            await eventually(lambda: faults.failed >= 2)
            await alice.send(message("m2", CHAT))
            await alice.until_acks(2)
            faults.unavailable.clear()


async def test_offsets_that_do_not_move_are_stored_again_before_the_log_forgets_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cecochat.servers.messaging.watermarks.AGAIN_S", 0.0)
    monkeypatch.setattr("cecochat.servers.materialize.worker.COMMIT_AGAIN_S", 0.0)
    async with cluster(tmp_path) as servers:
        await servers.assign("one")
        await servers.start("one")
        async with servers.stream("one", ALICE) as alice:
            await alice.send(message("m", CHAT))
            await alice.until_acks(1)
        log = servers.parts.backplane
        _, end = await log.bounds(MESSAGES, 0)
        for group in ("forward", "materialize"):

            async def stored(group: str = group) -> bool:
                committed = await log.committed(group, MESSAGES, 0)
                return committed is not None and committed.offset >= end

            await eventually(stored)
            await log.commit(group, MESSAGES, {0: Place(0, 0)})
            await eventually(stored)


@pytest.mark.parametrize("error", [Unavailable, lambda _: Trimmed(0, 0, 1)])
async def test_a_log_that_cannot_be_read_is_taken_over_again(
    tmp_path: Path, error: Callable[[str], CecochatError]
) -> None:
    async with cluster(tmp_path) as servers:
        await servers.assign("one")
        faults = await servers.start("one")
        faults.error = error
        async with servers.stream("one", ALICE) as alice:
            faults.unavailable |= {"read", "bounds"}
            await alice.send(message("m", CHAT))
            assert (await alice.ended()).code == "MOVED"
            await eventually(lambda: faults.failed >= 3)
            faults.unavailable.clear()
        async with somewhere_at(servers, "one", ALICE, alice.position) as alice:
            await alice.send(message("m", CHAT))
            await alice.until_acks(1)
        assert await stored(servers, 1) == ["m"]


async def test_a_configuration_store_that_fails_stops_nobody(tmp_path: Path) -> None:
    async with cluster(tmp_path) as servers:
        await servers.assign("one")
        faults = await servers.start("one")
        async with servers.stream("one", ALICE) as alice:
            faults.unavailable.add("watch")
            await servers.assign("one")
            await eventually(lambda: faults.failed >= 1)
            await alice.send(message("m", CHAT))
            await alice.until_acks(1)
            faults.unavailable.clear()
            await servers.put_assignment({})
            assert (await alice.ended()).code == "MOVED"
