"""Copies that nobody can read are brought again, whichever they are and whoever owns what by then;
where that cannot be, somebody is told.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from contextlib import aclosing
from itertools import count
from pathlib import Path

import pytest

from cecochat.adapters.embedded import backend as embedded_backend
from cecochat.adapters.kafka import backend as kafka_backend
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import UserId, dialog
from cecochat.domain.log.records import Copy
from cecochat.domain.ownership.incoming import Incoming
from cecochat.ports.backplane import FORWARD_GROUP, MESSAGES, NewRecord
from cecochat.ports.reading import between
from cecochat.servers.messaging import watermarks
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import Position
from tests.integration.cluster import PARTITIONS, Cluster, cluster, user_on
from tests.integration.streams import Stream, delivered_texts, message
from tests.support import operators
from tests.support.eventually import eventually

ALICE, BOB = user_on(0, "alice"), user_on(1, "bob")
CHAT = dialog(UserId(ALICE), UserId(BOB))
MANY = 1_000
TEXTS = [f"m{number}" for number in range(MANY)]

Spoil = Callable[[NewRecord], NewRecord]


def value(record: NewRecord) -> NewRecord:
    return record._replace(value=b"\xff not an event", decoded=None)


def headers(record: NewRecord) -> NewRecord:
    return record._replace(headers=(("kind", "unheard of"), ("v", "1")), decoded=None)


def stranger(record: NewRecord) -> NewRecord:
    """As from a partition that this log does not have, with one before it that is not here."""
    said = dict(record.headers) | {"origin": "99:9", "after": "8"}
    return record._replace(headers=tuple(said.items()), decoded=None)


def is_copy(record: NewRecord) -> bool:
    return ("kind", "copy") in record.headers


def is_missing(record: NewRecord) -> bool:
    return any(name == "missing" for name, _ in record.headers)


def spoils(spoil: Spoil, matches: Callable[[NewRecord], bool], *which: int) -> Spoil:
    """The records that match are counted, and some of them cannot be read by anybody."""
    numbers = count()
    return lambda record: spoil(record) if matches(record) and next(numbers) in which else record


async def metric(servers: Cluster, server_id: str, name: str) -> float:
    async with operators.client() as client:
        text = (await client.get(f"{servers.servers[server_id].health_url}/metrics")).text
    found = re.search(rf"^{re.escape(name)} (.*)$", text, re.M)
    return float(found[1]) if found else 0.0


async def say(servers: Cluster, server_id: str, texts: list[str], chat: str = CHAT) -> None:
    """Alice does, and all of it is acknowledged."""
    async with servers.stream(server_id, ALICE) as alice:
        for first in range(0, len(texts), 100):
            await alice.send(*(message(text, chat) for text in texts[first : first + 100]))
        await alice.until_acks(len(texts))


@pytest.mark.parametrize("spoil", [value, headers])
@pytest.mark.parametrize("which", [0, MANY // 2, MANY - 1])
async def test_all_that_is_acknowledged_is_delivered_though_one_copy_cannot_be_read(
    tmp_path: Path, kafka: str, spoil: Spoil, which: int
) -> None:
    async with cluster(tmp_path, kafka) as servers:
        await servers.assign("one")
        faults = await servers.start("one")
        faults.written = spoils(spoil, is_copy, which)
        async with servers.stream("one", BOB) as bob:
            await say(servers, "one", TEXTS)
            async with asyncio.timeout(30):
                await bob.until_texts(MANY)
            await say(servers, "one", ["and on"])
            await bob.until_texts(MANY + 1)
            assert delivered_texts(bob.items) == [*TEXTS, "and on"]
        assert await metric(servers, "one", "cecochat_copies_asked_again_total") >= 1
        void = 'cecochat_copies_not_counted_total{reason="broken_chain"}'
        assert await metric(servers, "one", void) <= MANY - 1 - which, "fewer if mended meanwhile"


async def test_a_copy_from_a_partition_that_there_is_not_stops_nobody(
    tmp_path: Path, kafka: str
) -> None:
    async with cluster(tmp_path, kafka) as servers:
        await servers.assign("one")
        faults = await servers.start("one")
        faults.written = spoils(stranger, is_copy, 0)
        async with servers.stream("one", BOB) as bob:
            await say(servers, "one", ["first", "second"])
            async with asyncio.timeout(30):
                assert await bob.until_texts(2) == ["first", "second"]
            await eventually(lambda: nothing_broken(servers))


async def nothing_broken(servers: Cluster) -> bool:
    return await metric(servers, "one", "cecochat_chains_broken") == 0


async def test_a_question_that_cannot_be_read_is_asked_again(tmp_path: Path, kafka: str) -> None:
    async with cluster(tmp_path, kafka) as servers:
        await servers.assign("one")
        faults = await servers.start("one")
        spoil_a_copy, spoil_a_question = (
            spoils(headers, matches, 0) for matches in (is_copy, is_missing)
        )
        faults.written = lambda record: spoil_a_question(spoil_a_copy(record))
        async with servers.stream("one", BOB) as bob:
            await say(servers, "one", ["only"])
            async with asyncio.timeout(30):
                assert await bob.until_texts(1) == ["only"]
        assert await metric(servers, "one", "cecochat_copies_asked_again_total") >= 2


async def test_the_last_copy_is_brought_again_where_both_owners_are_new(
    tmp_path: Path, kafka: str
) -> None:
    """Neither the one that has read what nobody can read, nor the one that has written it, lives
    to do anything about it; and the next copy is written by one that has not written any before.
    """
    async with cluster(tmp_path, kafka) as servers:
        await servers.put_assignment({"0": "one"})
        faults = await servers.start("one")
        faults.written = spoils(value, is_copy, 1)
        await say(servers, "one", ["first", "second"])
        await eventually(lambda: forwarded(servers))
        await servers.start("two")
        await servers.assign("two")
        await eventually(lambda: owns(servers, "two", PARTITIONS))
        await say(servers, "two", ["third"])
        await eventually(lambda: are_counted(servers, "first", "second", "third"))
        async with servers.stream("two", BOB, await beginning(servers)) as bob:
            await told_of_a_gap(bob)


async def are_counted(servers: Cluster, *texts: str) -> bool:
    """Whether these copies, in this order, count in Bob's partition, and no others do."""
    backplane, fold, found = servers.parts.backplane, Fold(), list[str]()
    start, end = await backplane.bounds(MESSAGES, 1)
    async with aclosing(between(backplane, 1, start, end)) as records:
        async for offset, record, appended_at_ms in records:
            if fold.step(offset, record, appended_at_ms) and isinstance(record, Copy):
                found.append(Event.FromString(record.event).message.text)
    return found == list(texts)


async def told_of_a_gap(bob: Stream) -> None:
    """Since nobody knows whether what cannot be read could be read once."""
    async with asyncio.timeout(30):
        while not any(item.HasField("gap") for item in bob.items):
            await bob.next()


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when an owner has looked up everything that it could lack."""
    event = asyncio.Event()
    real = Incoming.compared

    def seen(self: Incoming, unread: int) -> None:
        real(self, unread)
        event.set()

    monkeypatch.setattr(Incoming, "compared", seen)
    return event


async def test_a_question_under_way_holds_up_no_takeover(tmp_path: Path, kafka: str) -> None:
    async with cluster(tmp_path, kafka) as servers:
        await servers.assign("one")
        faults = await servers.start("one")
        faults.written = spoils(value, is_copy, 0)
        async with servers.stream("one", BOB) as bob:
            await say(servers, "one", ["only"])
            faults.stalled[0] = asyncio.Event()  # never set
            await eventually(lambda: broken(servers))
            await servers.start("two")
            await servers.assign("two")
            async with asyncio.timeout(60):
                assert (await bob.ended()).code == "MOVED"
        await eventually(lambda: owns(servers, "two", PARTITIONS))
        async with servers.stream("two", BOB, bob.position) as again:
            async with asyncio.timeout(30):
                assert await again.until_texts(1) == ["only"]


async def broken(servers: Cluster) -> bool:
    return await metric(servers, "one", "cecochat_chains_broken") == 1


async def test_what_strangers_write_among_the_copies_stops_nobody(
    tmp_path: Path, kafka: str, compared: asyncio.Event
) -> None:
    """Nothing is missing, so nobody is asked, and it holds up nothing."""
    async with cluster(tmp_path, kafka) as servers:
        await servers.assign("one")
        await servers.start("one")
        stranger = await servers.parts.backplane.producer()
        async with servers.stream("one", BOB) as bob:
            for first in range(0, MANY, 100):
                await say(servers, "one", TEXTS[first : first + 100])
                await stranger.append(
                    [
                        NewRecord(1, b"", b"\xff", (("kind", "copy"), ("v", "1"))),
                        NewRecord(1, b"", b"", (("kind", "?"),)),
                    ]
                )
            await bob.until_texts(MANY)
            async with asyncio.timeout(30):
                await compared.wait()
            await say(servers, "one", ["and on"])
            await bob.until_texts(MANY + 1)
            assert delivered_texts(bob.items) == [*TEXTS, "and on"]
        await stranger.close()
        assert await metric(servers, "one", "cecochat_copies_asked_again_total") == 0


@pytest.mark.timeout(420)
async def test_what_the_log_has_dropped_meanwhile_is_told(
    tmp_path: Path, kafka: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody reads a partition for as long as records are kept, and its last copy cannot be
    read.
    """
    monkeypatch.setattr(watermarks, "STORE_EVERY_S", 0.05)
    monkeypatch.setattr(watermarks, "RELEASE_EVERY", 1)
    monkeypatch.setattr(embedded_backend, "TRIM_EVERY_S", 0.05)
    monkeypatch.setattr(kafka_backend, "TRIM_EVERY_S", 0.05)
    elsewhere = dialog(UserId(ALICE), UserId(user_on(2)))
    async with cluster(tmp_path, kafka, retention_ms=1) as servers:
        await servers.put_assignment({"0": "one"})
        faults = await servers.start("one")
        faults.written = spoils(value, lambda each: is_copy(each) and each.partition == 1, 1)
        await say(servers, "one", ["first", "lost"])
        await say(servers, "one", [f"other {number}" for number in range(3 * MANY)], elsewhere)

        async def dropped() -> bool:
            return (await servers.parts.backplane.bounds(MESSAGES, 0))[0] > MANY

        await eventually(dropped, within_s=30)
        await servers.assign("one")
        await eventually(lambda: owns(servers, "one", PARTITIONS))
        with caplog.at_level(logging.ERROR):

            async def told() -> bool:
                lost = await metric(servers, "one", "cecochat_copies_lost_total")
                return lost > 0 and await broken(servers) and await lacking(servers) == {"1": [0]}

            await eventually(told, within_s=30)
        assert "never reach the devices of" in caplog.text
        await say(servers, "one", ["later"])
        await eventually(lambda: are_counted(servers, "first", "later"))
        async with servers.stream("one", BOB, await beginning(servers)) as bob:
            await told_of_a_gap(bob)
        await eventually(lambda: whole(servers))


async def whole(servers: Cluster) -> bool:
    chains = await metric(servers, "one", "cecochat_chains_broken")
    return chains == 0 and await lacking(servers) == {}


async def lacking(servers: Cluster) -> dict[str, list[int]]:
    """What `cecochat status` is told."""
    async with operators.client() as client:
        answer = await client.get(f"{servers.servers['one'].health_url}/partitions")
    found: dict[str, list[int]] = answer.json()["lacking"]
    return found


async def beginning(servers: Cluster) -> Position:
    return Position(log_id=await servers.parts.backplane.log_id(), partition=1, offset=-1)


async def forwarded(servers: Cluster) -> bool:
    log = servers.parts.backplane
    _, end = await log.bounds(MESSAGES, 0)
    committed = await log.committed(FORWARD_GROUP, MESSAGES, 0)
    return committed is not None and committed.offset == end


async def owns(servers: Cluster, server_id: str, partitions: int) -> bool:
    return await metric(servers, server_id, "cecochat_partitions_owned") == partitions
