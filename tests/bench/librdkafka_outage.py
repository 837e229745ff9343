"""What an idempotent producer of librdkafka leaves in the log across an outage of its broker:
`python -m tests.bench.librdkafka_outage`. Needs `pip install confluent-kafka`.

A session of the log's port ends with its first failure: what landed is a prefix of what it was
given, and nothing lands twice. Here one producer with `enable.gapless.guarantee` is given numbers,
while the broker stands still for longer than `message.timeout.ms`.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from scripts.backends import kafka, ports
from scripts.backends.launch import Backend

TOPIC: Final = "numbers"
NUMBERS: Final = 400
STOPPED_AT, WENT_ON_AT = 50, 300
EVERY_S: Final = 0.02
MESSAGE_TIMEOUT_MS: Final = 3_000
READ_S: Final = 5.0

library: Any = import_module("confluent_kafka")
admin: Any = import_module("confluent_kafka.admin")


def made(broker: Backend) -> None:
    """Create the topic."""
    client = admin.AdminClient({"bootstrap.servers": broker.address})
    client.create_topics([admin.NewTopic(TOPIC, 1, 1)])[TOPIC].result(10)


def produced(broker: Backend) -> dict[int, str]:
    """Append the numbers, and return what became of each."""
    outcomes: dict[int, str] = {}
    producer = library.Producer(
        {"bootstrap.servers": broker.address, "log_level": 2}
        | {"enable.idempotence": True, "enable.gapless.guarantee": True, "linger.ms": 0}
        | {"message.timeout.ms": MESSAGE_TIMEOUT_MS}
    )
    assert broker.pid
    for number in range(NUMBERS):
        if number in (STOPPED_AT, WENT_ON_AT):
            stop = number == STOPPED_AT
            os.kill(broker.pid, signal.SIGSTOP if stop else signal.SIGCONT)

        def told(error: Any, message: Any) -> None:
            outcomes[int(message.value())] = error.name() if error else "acknowledged"

        producer.produce(TOPIC, b"%d" % number, partition=0, on_delivery=told)
        producer.poll(0) if number else producer.flush(10)
        time.sleep(EVERY_S)
    producer.flush(30)
    return outcomes


def landed(broker: Backend) -> list[int]:
    consumer = library.Consumer({"bootstrap.servers": broker.address, "group.id": "numbers"})
    consumer.assign([library.TopicPartition(TOPIC, 0, 0)])
    messages, until = [], time.monotonic() + READ_S
    while time.monotonic() < until:
        messages += consumer.consume(NUMBERS, timeout=1)
    consumer.close()
    return [int(message.value()) for message in messages]


def main() -> None:
    """Print what is in the log, and what the producer has said."""
    with tempfile.TemporaryDirectory() as folder:
        broker = Backend(kafka.KIND, kafka.KIND.instance(Path(folder), ports.free(kafka.KIND)))
        broker.start()
        try:
            made(broker)
            outcomes, found = produced(broker), landed(broker)
        finally:
            broker.kill()
    told = list(outcomes.values())
    print({outcome: told.count(outcome) for outcome in set(told)})
    print("in the log:", len(found), "twice:", len(found) - len(set(found)))
    print("not followed by the next:", [pair for pair in pairwise(found) if pair[1] != pair[0] + 1])


if __name__ == "__main__":
    main()
