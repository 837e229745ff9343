"""As much of the log's port as a measurement needs, on librdkafka: one producer for all sessions,
one consumer for all readers, a thread for each. It keeps none of the port's promises on failures.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final, TypeAlias

from cecochat.ports.backplane import NewRecord, Record

POLL_S: Final = 0.5
FETCH_WAIT_MS: Final = 100
BATCH_RECORDS: Final = 1_000

Read = Callable[[list[Record]], None]
Landed: TypeAlias = "tuple[asyncio.Future[None], str | None]"


class Librdkafka:
    """A producer and a consumer of one topic."""

    def __init__(self, brokers: str, topic: str, linger_ms: int) -> None:
        self._library: Any = import_module("confluent_kafka")  # of no lock: only this needs it
        self._topic = topic
        self._brokers = {"bootstrap.servers": brokers, "log_level": 3}
        self._loop = asyncio.get_running_loop()
        self._producer = self._library.Producer(
            self._brokers
            | {"enable.idempotence": True, "enable.gapless.guarantee": True}
            | {"linger.ms": linger_ms}
        )
        self._landed: list[Landed] = []
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._run(self._serve)

    def _run(self, target: Callable[..., None], *arguments: Any) -> None:
        self._threads.append(threading.Thread(target=target, args=arguments))
        self._threads[-1].start()

    async def append(self, record: NewRecord) -> None:
        """Append one record. Returns when it is durable."""
        landed = self._loop.create_future()
        self._producer.produce(
            self._topic,
            record.value,
            record.key,
            record.partition,
            headers=[(name, value.encode()) for name, value in record.headers],
            on_delivery=lambda error, _: self._landed.append((landed, error and error.name())),
        )
        await landed

    def _serve(self) -> None:
        while not self._closed:
            self._producer.poll(POLL_S)
            if self._landed:
                landed, self._landed = self._landed, []
                self._loop.call_soon_threadsafe(self._tell, landed)

    @staticmethod
    def _tell(landed: list[Landed]) -> None:
        for future, error in landed:
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(RuntimeError(error))

    def follow(self, starts: Mapping[int, int], read: Read) -> None:
        """Read on in each partition from its offset in `starts`."""
        consumer = self._library.Consumer(
            self._brokers
            | {"group.id": "bench", "enable.auto.commit": False, "enable.auto.offset.store": False}
            | {"auto.offset.reset": "error", "check.crcs": True}
            | {"fetch.wait.max.ms": FETCH_WAIT_MS}
        )
        of = self._library.TopicPartition
        consumer.assign([of(self._topic, partition, at) for partition, at in starts.items()])
        self._run(self._consume, consumer, read)

    def _consume(self, consumer: Any, read: Read) -> None:
        while not self._closed:
            if first := consumer.poll(POLL_S):
                more = consumer.consume(BATCH_RECORDS - 1, timeout=0)
                records = [_record(message) for message in (first, *more)]
                self._loop.call_soon_threadsafe(read, records)
        consumer.close()

    async def close(self) -> None:
        """End the threads."""
        self._closed = True
        for thread in self._threads:
            await asyncio.to_thread(thread.join)


def _record(message: Any) -> Record:
    if error := message.error():
        raise RuntimeError(str(error))
    _, at_ms = message.timestamp()
    headers = tuple((name, value.decode()) for name, value in message.headers() or ())
    return Record(message.offset(), at_ms, message.key() or b"", message.value() or b"", headers)
