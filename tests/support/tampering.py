"""What a test does to the log behind the servers' backs."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count

from aiokafka.client import AIOKafkaClient  # type: ignore[import-untyped]
from aiokafka.protocol.api import Request, RequestStruct, Response  # type: ignore[import-untyped]
from aiokafka.protocol.types import (  # type: ignore[import-untyped]
    Array,
    Boolean,
    Int8,
    Int16,
    Int32,
    Schema,
    String,
)
from typing_extensions import override

from cecochat.adapters import build
from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import UserId, message_id, stamp_at
from cecochat.domain.log.records import Origin, encode
from cecochat.ports.backplane import MESSAGES, Backplane, NewRecord
from cecochat.ports.reading import fold_at
from cecochat.settings.settings import load
from cecochat.v1.events_pb2 import Event
from tests.support.records import dialog

_TEXT = String("utf-8")
_TOPIC = 2  # a kind of resource
_SET = 0  # an operation


class _AlteredConfigs(Response):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "responses",
            Array(
                ("error_code", Int16),
                ("error_message", _TEXT),
                ("resource_type", Int8),
                ("resource_name", _TEXT),
            ),
        ),
    )


class _AlterConfigs(RequestStruct):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = _AlteredConfigs
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", _TEXT),
                ("configs", Array(("name", _TEXT), ("operation", Int8), ("value", _TEXT))),
            ),
        ),
        ("validate_only", Boolean),
    )


class _SetOnTopic(Request[_AlterConfigs]):  # type: ignore[misc]
    """Set what is named and leave all else (KIP-339), which aiokafka cannot."""

    API_KEY = 44

    def __init__(self, topic: str, keys: Mapping[str, str]) -> None:
        self._resource = (_TOPIC, topic, [(name, _SET, value) for name, value in keys.items()])

    @override
    def build(self, request_struct_class: type[_AlterConfigs]) -> _AlterConfigs:
        return request_struct_class([self._resource], False)


async def set_on_topic(environment: Mapping[str, str], keys: Mapping[str, str]) -> None:
    """As `kafka-configs.sh --alter --add-config` does, on the topic of the messages."""
    client = AIOKafkaClient(bootstrap_servers=environment["CECOCHAT_KAFKA"])
    await client.bootstrap()
    try:
        topic = f"{environment['CECOCHAT_NAMESPACE']}.{MESSAGES}"
        answer = await client.send(client.get_random_node(), _SetOnTopic(topic, keys))
        ((code, message, *_),) = answer.responses
        assert code == 0, message
    finally:
        await client.close()


@asynccontextmanager
async def opened(environment: Mapping[str, str]) -> AsyncIterator[Backplane]:
    async with build.backplane(load(environment)) as log:
        yield log


async def append(environment: Mapping[str, str], records: list[NewRecord]) -> None:
    async with opened(environment) as log:
        producer = await log.producer()
        await producer.append(records)
        await producer.close()


async def fold_of(environment: Mapping[str, str], partition: int) -> Fold:
    """What the partition says so far."""
    async with opened(environment) as log:
        _, end = await log.bounds(MESSAGES, partition)
        return await fold_at(log, partition, end - 1)


def messages(partition: int, partitions: int, many: int, after: Fold) -> list[NewRecord]:
    """The next that an owner of the partition would append after that, of a user who has nothing
    to do with others, to one on another partition.
    """
    sender = _user("talker", lambda at: at == partition, partitions)
    to = _user("listener", lambda at: at != partition, partitions)
    first = max(after.top + 1, stamp_at(time.time_ns() // 1_000_000))
    return [
        _record(partition, message_id(first + number, partition), after, number, sender, to)
        for number in range(many)
    ]


def _user(prefix: str, fits: Callable[[int], bool], partitions: int) -> str:
    names = (f"{prefix}-{number}" for number in count())
    return next(name for name in names if fits(partition_of(name, partitions)))


def _record(partition: int, id_: int, after: Fold, number: int, sender: str, to: str) -> NewRecord:
    event = Event(
        id=id_,
        user_id=sender,
        chat_id=dialog(sender, to),
        client_message_id=str(id_),
        recipient_ids=[to],
    )
    event.message.text = "one of many"
    at = after.count + number
    written = event.SerializeToString()
    origin = Origin(
        id_, after.epoch, at, UserId(sender), event.client_message_id, (UserId(to),), written, event
    )
    return NewRecord(partition, *encode(origin))
