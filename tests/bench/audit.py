"""What an audit costs, beside what materializing the same messages does; no servers around it.

    python -m tests.bench.audit [--messages N] [--pairs N] [--kafka HOST:PORT --cassandra HOST:PORT]

The log and the history are made new, in a folder that goes afterwards, or in a namespace of their
own, which stays. CPU is that of this process: the backends' own is not in it.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from prometheus_client import CollectorRegistry

from cecochat.adapters import build
from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.log.ids import UserId, dialog, message_id, stamp_at
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Copy, LogRecord, Origin, Takeover, encode
from cecochat.ports.backplane import MATERIALIZE_GROUP, MESSAGES, Backplane, NewRecord
from cecochat.ports.history import History
from cecochat.servers.materialize import auditor
from cecochat.servers.materialize.auditor import Auditor
from cecochat.servers.materialize.on_request import OnRequest
from cecochat.servers.materialize.worker import Materializer
from cecochat.settings.settings import made
from cecochat.v1.events_pb2 import Event
from tests.support.eventually import eventually
from tests.support.texts import real_texts

PARTITIONS = 12
AT_ONCE = 1_000


def records(count: int, pairs: int) -> list[list[LogRecord]]:
    """By partition and offset: messages between pairs of users, and their copies."""
    made: list[list[LogRecord]] = [[Takeover("bench", "s", 1)] for _ in range(PARTITIONS)]
    numbers = [0] * PARTITIONS
    begin_ms = time.time_ns() // 1_000_000 - count
    texts = real_texts()
    for number in range(count):
        names = [f"a{number % pairs}", f"b{number % pairs}"]
        sender, recipient = names if number // pairs % 2 else names[::-1]
        partition, target = partition_of(sender, PARTITIONS), partition_of(recipient, PARTITIONS)
        id_ = message_id(stamp_at(begin_ms + number), partition)
        chat = dialog(UserId(sender), UserId(recipient))
        event = Event(id=id_, user_id=sender, chat_id=chat, recipient_ids=[recipient])
        event.message.text = texts[number % len(texts)]
        value, offset = event.SerializeToString(), len(made[partition])
        to = (recipient,)
        made[partition].append(
            Origin(
                id_,
                Place(0, 0),
                numbers[partition],
                UserId(sender),
                "",
                tuple(map(UserId, to)),
                value,
                event,
            )
        )
        made[target].append(
            Copy(id_, partition, Place(0, offset), NOWHERE, tuple(map(UserId, to)), value)
        )
        numbers[partition] += 1
    return made


async def append(backplane: Backplane, made: list[list[LogRecord]]) -> None:
    producer = await backplane.producer()
    for partition, some in enumerate(made):
        for at in range(0, len(some), AT_ONCE):
            await producer.append(
                [NewRecord(partition, *encode(each)) for each in some[at : at + AT_ONCE]]
            )
    await producer.close()


async def materialize(backplane: Backplane, history: History, ends: list[int]) -> None:
    """Until all is in the history."""
    worker = Materializer(backplane, history, await backplane.log_id(), CollectorRegistry())
    running = asyncio.create_task(worker.run())
    for partition, end in enumerate(ends):

        async def done(partition: int = partition, end: int = end) -> bool:
            place = await backplane.committed(MATERIALIZE_GROUP, MESSAGES, partition)
            return place is not None and place.offset == end

        await eventually(done, within_s=600, every_s=0.05)
    running.cancel()
    await asyncio.wait([running])


def an_auditor(backplane: Backplane, history: History) -> Auditor:
    return Auditor(backplane, history, CollectorRegistry(), lambda: range(PARTITIONS))


async def at_once(backplane: Backplane, history: History) -> None:
    """As `cecochat audit` asks for it."""
    asked = OnRequest(backplane, history, lambda _: None)
    for partition in range(PARTITIONS):
        step = await asked.step(partition, None)
        while step.up_to < step.whole:
            step = await asked.step(partition, step.up_to)
        assert step.missing == []


async def all_the_time(backplane: Backplane, history: History, ends: list[int]) -> None:
    """Rounds as a server makes them, one right after the other."""
    looking = an_auditor(backplane, history)
    looking.rate = 2_000.0
    while True:
        await looking.round()
        assert not looking.missing_rows
        if all(looking.complete[p].offset + 1 >= end for p, end in enumerate(ends)):
            return


async def measured(what: str, count: int, work: Callable[[], Awaitable[None]]) -> None:
    own, wall = time.process_time(), time.perf_counter()
    await work()
    own, wall = time.process_time() - own, time.perf_counter() - wall
    print(f"{what:40} {wall:7.1f} s {own:7.1f} CPU-s {own / count * 1_000:7.4f} CPU-s per 1,000")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--pairs", type=int, default=500)
    parser.add_argument("--kafka", default="")
    parser.add_argument("--cassandra", default="")
    asked = parser.parse_args()
    auditor.SLOW_SHARE = 0.0
    async with AsyncExitStack() as stack:
        settings = made(
            data_dir=Path(stack.enter_context(tempfile.TemporaryDirectory())),
            partitions=PARTITIONS,
            kafka=asked.kafka,
            cassandra=asked.cassandra,
            namespace=f"bench{uuid.uuid4().hex[:8]}",
        )
        backplane = await stack.enter_async_context(build.backplane(settings))
        history = await stack.enter_async_context(build.history(settings))
        log = records(asked.messages, asked.pairs)
        ends, count = [len(each) for each in log], asked.messages
        await append(backplane, log)
        del log
        await measured("materialize", count, lambda: materialize(backplane, history, ends))
        await measured("audit, at once", count, lambda: at_once(backplane, history))
        await measured("audit, rounds", count, lambda: all_the_time(backplane, history, ends))


if __name__ == "__main__":
    asyncio.run(main())
