"""Records that nobody can read, among those that count."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path

import pytest

from cecochat.client import Message, connect
from cecochat.domain.log.headers import Headers
from cecochat.domain.log.ids import UserId, dialog
from cecochat.domain.log.records import LogRecord, Origin, encode
from cecochat.ports.backplane import MESSAGES, NewRecord
from cecochat.ports.configuration import CONFIGURATION
from cecochat.servers.messaging import appending
from cecochat.v1.messaging_pb2 import Position
from tests.integration.cluster import cluster, user_on
from tests.integration.streams import message
from tests.integration.systems import QUICK, running, write_document
from tests.support.eventually import eventually

TEXTS = [f"message {number}" for number in range(6)]


async def test_a_send_that_cannot_be_read_back_is_accepted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its own the owner would say ready, and answer nobody any more."""
    origins = count()

    def spoiling(record: LogRecord) -> tuple[bytes, bytes, Headers]:
        key, value, headers = encode(record)
        spoilt = isinstance(record, Origin) and next(origins) in (2, 5)
        return key, value, (("kind", "unheard of"), ("v", "1")) if spoilt else headers

    monkeypatch.setattr(appending, "encode", spoiling)
    async with (
        running(tmp_path) as up,
        connect(up.addresses.connect, up.token("bob")) as bob,
        connect(up.addresses.connect, up.token("alice"), receipts=False) as alice,
    ):
        async with asyncio.timeout(60):
            await asyncio.gather(*[await alice.post("bob", text) for text in TEXTS])
        texts: list[str] = []
        async with asyncio.timeout(60):
            while len(texts) < len(TEXTS):
                event = await anext(bob)
                if isinstance(event, Message):
                    texts.append(event.text)
    assert texts == TEXTS


async def test_a_position_on_such_a_record_is_resumed_without_a_gap(tmp_path: Path) -> None:
    alice, bob = user_on(0), user_on(0, "other")
    async with cluster(tmp_path) as servers:
        nothing_kept = {**QUICK, "tail.max_bytes": 0}
        await write_document(servers.parts.configuration, CONFIGURATION, nothing_kept)
        await servers.assign("one")
        await servers.start("one")
        async with servers.stream("one", alice) as writer:
            await writer.send(message("before", dialog(UserId(alice), UserId(bob))))
            await writer.until_acks(1)
            await asyncio.sleep(0.01)  # a later time, by the clock of the log
            producer = await servers.parts.backplane.producer()
            await producer.append([NewRecord(0, b"", b"", (("kind", "unheard of"), ("v", "1")))])
            await producer.close()
            _, end = await servers.parts.backplane.bounds(MESSAGES, 0)

            async def live() -> bool:
                async with servers.stream("one", bob) as reader:
                    assert reader.position
                    positions.append(reader.position)
                return positions[-1].offset == end - 1

            positions: list[Position] = []
            await eventually(live)
            await writer.send(message("behind", dialog(UserId(alice), UserId(bob))))
            await writer.until_acks(2)
        async with servers.stream("one", bob, positions[-1]) as reader:
            assert not any(item.HasField("gap") for item in reader.items)
            assert await reader.until_texts(1) == ["behind"]
