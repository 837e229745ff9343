"""The topics of a log: made where they are missing, checked each time, never changed silently."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from aiokafka.protocol.admin import CreateTopicsRequest, DescribeConfigsRequest  # type: ignore[import-untyped]

from cecochat.adapters.kafka.cluster import BACKOFF_S, Cluster, Refused, check
from cecochat.adapters.kafka.protocol import DescribeTopics
from cecochat.adapters.kafka.settings import PARTITIONS_DEFAULT, PARTITIONS_MAX, KafkaSettings
from cecochat.domain.errors import InvalidSettings, Unavailable
from cecochat.ports.backplane import DEAD_LETTERS, MESSAGES, Topic

RECORD_BYTES_MAX: Final = 4 << 20
"""Of a record batch: sends are limited to 64 KiB, and a state record of 4,096 partitions has 80."""

_TOPIC: Final = 2  # a kind of resource
_UNKNOWN_TOPIC: Final = 3
_TOPIC_EXISTS: Final = 36
"""Also while another server is creating it."""


class Log(NamedTuple):
    """What is fixed when the topics are created."""

    log_id: str
    partition_count: int


class _Described(NamedTuple):
    topic_id: str
    partition_count: int
    replication: int  # of the partition that has the fewest replicas


class _Wanted(NamedTuple):
    name: str
    created_as: str
    fits: Callable[[str], bool]


def name_of(settings: KafkaSettings, topic: Topic) -> str:
    """What the brokers call a topic of this log."""
    return f"{settings.namespace}.{topic}"


def names_of(settings: KafkaSettings) -> list[str]:
    """All topics of a log, as the brokers call them."""
    return [name_of(settings, MESSAGES), name_of(settings, DEAD_LETTERS)]


async def open_log(cluster: Cluster, settings: KafkaSettings) -> Log:
    """Create what is missing, then check both topics. Raises `InvalidSettings`, `Unavailable`."""
    names = names_of(settings)
    described: list[_Described] = []
    for name in names:
        count = settings.partition_count or (described[0].partition_count if described else None)
        found = await cluster.patiently(name, partial(_describe, cluster, name))
        if found is None:
            await cluster.patiently(name, partial(_create, cluster, settings, name, count))
            found = await _appeared(cluster, settings, name)
        await _check(cluster, settings, name, found, count)
        described.append(found)
    await cluster.follow(names)
    return Log(described[0].topic_id, described[0].partition_count)


async def _describe(cluster: Cluster, name: str) -> _Described | None:
    answer = await cluster.ask(cluster.any_broker(), DescribeTopics([name]))
    ((code, _, topic_id, _, partitions, *_),) = answer.topics
    if code == _UNKNOWN_TOPIC:
        return None
    check(code)
    for _, _, leader, *_ in partitions:
        check(0 if leader >= 0 else 5)  # leader not available
    return _Described(
        str(uuid.UUID(bytes=topic_id)),
        len(partitions),
        min(len(replicas) for _, _, _, _, replicas, *_ in partitions),
    )


async def _appeared(cluster: Cluster, settings: KafkaSettings, name: str) -> _Described:
    """A topic just created shows after a moment, not on every broker at once."""
    deadline = asyncio.get_running_loop().time() + settings.timeout_s
    while asyncio.get_running_loop().time() < deadline:
        if found := await cluster.patiently(name, lambda: _describe(cluster, name)):
            return found
        await asyncio.sleep(BACKOFF_S)
    raise Unavailable(f"Kafka does not show the topic {name} that was created")


async def _create(cluster: Cluster, settings: KafkaSettings, name: str, count: int | None) -> None:
    brokers = (await cluster.ask(cluster.any_broker(), DescribeTopics([]))).brokers
    replication = settings.replication or min(3, len(brokers))
    configs = [(each.name, each.created_as) for each in _wanted(settings, replication)]
    topic: tuple[Any, ...] = (name, count or PARTITIONS_DEFAULT, replication, [], configs)
    request = CreateTopicsRequest([topic], int(settings.timeout_s * 1_000), False)
    answer = await cluster.ask(cluster.any_broker(), request)
    ((_, code, message),) = answer.topic_errors
    if code and code != _TOPIC_EXISTS:
        error = Refused(code)
        if error.retriable:
            raise error
        raise InvalidSettings(f"Kafka does not create the topic {name}: {error}: {message}")


def _wanted(settings: KafkaSettings, replication: int) -> list[_Wanted]:
    in_sync = min(2, max(1, replication - 1))
    return [
        _is("cleanup.policy", "delete"),
        _is("message.timestamp.type", "LogAppendTime"),
        _Wanted(
            "retention.ms",
            str(settings.retention_ms),
            lambda value: int(value) == -1 or int(value) >= settings.retention_ms,
        ),
        _is("retention.bytes", "-1"),
        _at_least("min.insync.replicas", in_sync),
        _is("unclean.leader.election.enable", "false"),
        _at_least("max.message.bytes", RECORD_BYTES_MAX),
    ]


def _is(name: str, wanted: str) -> _Wanted:
    return _Wanted(name, wanted, lambda value: value == wanted)


def _at_least(name: str, wanted: int) -> _Wanted:
    return _Wanted(name, str(wanted), lambda value: int(value) >= wanted)


async def _check(
    cluster: Cluster, settings: KafkaSettings, name: str, found: _Described, count: int | None
) -> None:
    if found.partition_count != (count or found.partition_count):
        raise InvalidSettings(
            f"partition count {count}: the topic {name} has {found.partition_count}, which is "
            f"fixed; ask for {found.partition_count}, or use another namespace"
        )
    if found.partition_count > PARTITIONS_MAX:
        raise InvalidSettings(f"{name} has {found.partition_count} partitions: 4,096 at most")
    if found.replication < settings.replication:
        raise InvalidSettings(
            f"replication {settings.replication}: a partition of {name} has {found.replication}; "
            "add replicas with kafka-reassign-partitions.sh, or ask for fewer"
        )
    configs = await cluster.patiently(name, lambda: _configs(cluster, name))
    wrong = [
        each
        for each in _wanted(settings, found.replication)
        if not each.fits(configs.get(each.name, ""))
    ]
    if wrong:
        raise InvalidSettings(
            f"the topic {name} is not safe for a log: "
            + ", ".join(f"{each.name} is {configs.get(each.name)}" for each in wrong)
            + f"; run: kafka-configs.sh --bootstrap-server {settings.brokers} --alter "
            f"--entity-type topics --entity-name {name} --add-config "
            + ",".join(f"{each.name}={each.created_as}" for each in wrong)
        )


async def _configs(cluster: Cluster, name: str) -> dict[str, str]:
    request = DescribeConfigsRequest([(_TOPIC, name, None)])
    answer = await cluster.ask(cluster.any_broker(), request)
    ((code, _, _, _, entries),) = answer.resources
    check(code)
    return {entry[0]: entry[1] for entry in entries}
