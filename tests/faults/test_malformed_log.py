"""Records that nobody can read, put straight into the log: each is buried with its position and its
reason, and everything behind it goes on.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from cecochat.adapters import build
from cecochat.ports.backplane import DEAD_LETTERS, Backplane, NewRecord
from cecochat.settings.settings import Settings
from cecochat.v1.events_pb2 import Event
from tests.support.crowd import Crowd
from tests.support.hostile import inside, metric
from tests.support.records import Closed
from tests.support.traffic import ring

EVENT = Event(id=1 << 40, user_id="mallory", chat_id="d:a~b", client_message_id="1")
VALUE = EVENT.SerializeToString()
ORIGIN = (("kind", "origin"), ("v", "1"), ("id", "1"), ("epoch", "0"), ("number", "0"))
COPY = (("kind", "copy"), ("v", "1"), ("id", "1"), ("origin", "3:99999"), ("after", "-1"))
NOT_RECORDS = {
    "no headers": NewRecord(0, b"", b"", ()),
    "no kind": NewRecord(0, b"k", VALUE, (("v", "1"),)),
    "a kind to come": NewRecord(0, b"k", VALUE, (("kind", "signal"), ("v", "1"))),
    "a version to come": NewRecord(0, b"k", VALUE, (("kind", "origin"), ("v", "2"))),
    "an origin of noise": NewRecord(0, b"k", b"\xff" * 50, ORIGIN),
    "an origin without a number": NewRecord(0, b"k", VALUE, ORIGIN[:-1]),
    "an id of words": NewRecord(0, b"k", VALUE, (*ORIGIN[:2], ("id", "one"), *ORIGIN[3:])),
    "an id over 63 bits": NewRecord(0, b"k", VALUE, (*ORIGIN[:2], ("id", "9" * 19), *ORIGIN[3:])),
    "an endless id": NewRecord(0, b"k", VALUE, (*ORIGIN[:2], ("id", "9" * 5_000), *ORIGIN[3:])),
    "a key of noise": NewRecord(0, b"\xff\xfe", VALUE, ORIGIN),
    "a copy of noise": NewRecord(0, b"user-00", b"\xff" * 50, COPY),
    "a copy of nowhere": NewRecord(0, b"k", VALUE, (*COPY[:3], ("origin", "x"), COPY[4])),
    "a copy of partition -1": NewRecord(0, b"k", VALUE, (*COPY[:3], ("origin", "-1:5"), COPY[4])),
    "a takeover of noise": NewRecord(0, b"", b"\xff" * 9, (("kind", "takeover"), ("v", "1"))),
    "a state of noise": NewRecord(0, b"", b"\x2a\xff\xff", (("kind", "state"), ("v", "1"))),
}


@pytest.fixture
def opened_log(monkeypatch: pytest.MonkeyPatch) -> list[Backplane]:
    """The log of the system that is started next."""
    held: list[Backplane] = []
    real = build.backplane

    @asynccontextmanager
    async def noted(settings: Settings) -> AsyncGenerator[Backplane]:
        async with real(settings) as log:
            held.append(log)
            yield log

    monkeypatch.setattr(build, "backplane", noted)
    return held


async def test_what_cannot_be_read_is_buried_and_nobody_stops(
    tmp_path: Path, opened_log: list[Backplane]
) -> None:
    who, chats = ring(6)
    async with inside(tmp_path) as addresses:
        assert addresses.token_secret_file
        crowd = Crowd(lambda: addresses.connect, Path(addresses.token_secret_file))
        async with crowd.connected(who, chats):
            say_all(crowd, "before")
            assert await crowd.settle() == []  # nothing is under way that would take an offset
            (log,) = opened_log
            buried = await put_everywhere(log)
            say_all(crowd, "after")
            assert await crowd.settle() == []
            assert not [each for each in crowd.record.entries if isinstance(each.what, Closed)]
            health = addresses.health["materialize"]
            assert await graves(log, buried) == buried
            assert await metric(health, "cecochat_dead_letters_total") == len(buried)
    async with inside(tmp_path) as addresses:  # what reads the whole log again takes no offence
        crowd._connect_url = lambda: addresses.connect
        async with crowd.connected(who, chats):
            say_all(crowd, "after a restart")
            assert await crowd.settle() == []


def say_all(crowd: Crowd, text: str) -> None:
    for device in crowd.devices.values():
        for chat in device.chats:
            device.say(chat, text)


async def put_everywhere(log: Backplane) -> dict[str, bytes]:
    """Append all of it to every partition; position -> value."""
    producer = await log.producer()
    put: dict[str, bytes] = {}
    for partition in range(await log.partition_count()):
        for record in NOT_RECORDS.values():
            _, end = await log.bounds("messages", partition)
            await producer.append([record._replace(partition=partition)])
            put[f"{partition}:{end}"] = record.value
    await producer.close()
    return put


async def graves(log: Backplane, expected: dict[str, bytes]) -> dict[str, bytes]:
    """Position -> value of the dead letters, once there are as many in each partition."""
    found: dict[str, bytes] = {}
    for partition in range(await log.partition_count()):
        left = sum(position.startswith(f"{partition}:") for position in expected)
        async with aclosing(log.read(DEAD_LETTERS, partition, 0)) as batches:
            while left > 0:
                for record in await anext(batches):
                    headers = dict(record.headers)
                    assert len(headers["reason"]) > 10
                    found[headers["position"]] = record.value
                    left -= 1
    return found
