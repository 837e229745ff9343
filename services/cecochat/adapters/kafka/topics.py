"""The topics of a log. They are created if they are missing, checked at each start, and never
changed.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from aiokafka.protocol.admin import CreateTopicsRequest, DescribeConfigsRequest  # type: ignore[import-untyped]

from cecochat.adapters.kafka.cluster import BACKOFF_S, Cluster, Refused, check
from cecochat.adapters.kafka.identity import PartitionCountTopic
from cecochat.adapters.kafka.protocol import DescribeTopics
from cecochat.adapters.kafka.settings import PARTITIONS_DEFAULT, PARTITIONS_MAX, KafkaSettings
from cecochat.domain.errors import InvalidSettings, Unavailable
from cecochat.ports import signals
from cecochat.ports.backplane import DEAD_LETTERS, LETTERS_KEPT_MS, MESSAGES, Topic

COPIES: Final = 3
RECORD_BYTES_MAX: Final = 4 << 20
"""The most bytes of a record batch. Sends are limited to 64 KiB, and a state record of 4,096
partitions has 80 KiB.
"""

_TOPIC: Final = 2  # the resource type of a topic
_UNKNOWN_TOPIC: Final = 3
_TOPIC_EXISTS: Final = 36
"""The topic exists, or another server is creating it."""


class Log(NamedTuple):
    """What was fixed when the topics were created."""

    log_id: str
    partition_count: int


class _Described(NamedTuple):
    topic_id: str
    partition_count: int
    replication: int  # of the partition that has the fewest replicas
    brokers: int  # that can be seen now


class _Wanted(NamedTuple):
    name: str
    created_as: str
    fits: Callable[[str], bool]


def name_of(settings: KafkaSettings, topic: Topic) -> str:
    """Return the name that a topic of this log has at the brokers."""
    return f"{settings.namespace}.{topic}"


def names_of(settings: KafkaSettings) -> list[str]:
    """Return the names that the topics of this log have at the brokers."""
    logs = [name_of(settings, topic) for topic in (MESSAGES, DEAD_LETTERS)]
    return [*logs, _identity(settings), _signals(settings)]


def _identity(settings: KafkaSettings) -> str:
    return f"{settings.namespace}.{MESSAGES}.identity"


def _signals(settings: KafkaSettings) -> str:
    return f"{settings.namespace}.{signals.TOPIC}"


async def open_log(cluster: Cluster, settings: KafkaSettings) -> Log:
    """Create the topics that are missing, then check all of them. Raises `InvalidSettings` and
    `Unavailable`.
    """
    topics = Topics(cluster, settings)
    messages, dead, identity, of_signals = names_of(settings)
    found = await topics.opened(messages, settings.partition_count or PARTITIONS_DEFAULT)
    await topics.opened(identity, 1)
    await cluster.follow([messages, identity])
    created_with = await PartitionCountTopic(
        cluster, settings, identity, found.topic_id
    ).partition_count(found.partition_count)
    _check_count(messages, found.partition_count, created_with)
    _check_wanted(settings, messages, created_with)
    dead_found = await topics.opened(dead, created_with)
    _check_count(dead, dead_found.partition_count, created_with)
    signals_found = await topics.opened(of_signals, created_with)
    _check_count(of_signals, signals_found.partition_count, created_with)
    await cluster.follow([messages, dead])
    return Log(found.topic_id, created_with)


async def open_signals(cluster: Cluster, settings: KafkaSettings) -> str:
    """Check the topic of signals of a log that is open, and return its name. Raises
    `InvalidSettings` and `Unavailable`.
    """
    name = _signals(settings)
    await Topics(cluster, settings).opened(name, settings.partition_count or PARTITIONS_DEFAULT)
    await cluster.follow([name])
    return name


def _check_count(name: str, found: int, created_with: int) -> None:
    if found != created_with:
        raise InvalidSettings(
            f"the topic {name} has {found} partitions, but the log was created with "
            f"{created_with}. Somebody has added partitions, and Kafka cannot remove them; servers "
            "that are running go on without them. Begin a new log "
            "(docs/how-to/back-up-a-cluster.md) once the history has all of this one"
        )


def _check_wanted(settings: KafkaSettings, name: str, created_with: int) -> None:
    if created_with > PARTITIONS_MAX:
        raise InvalidSettings(
            f"the topic {name} has {created_with} partitions, and {PARTITIONS_MAX:,} are allowed: "
            "use another namespace"
        )
    if settings.partition_count not in (None, created_with):
        raise InvalidSettings(
            f"the topic {name} has {created_with} partitions, which is fixed, and the settings ask "
            f"for {settings.partition_count}: ask for {created_with}, or use another namespace"
        )


class Topics:
    """The topics of one log."""

    def __init__(self, cluster: Cluster, settings: KafkaSettings) -> None:
        self._cluster = cluster
        self._settings = settings

    async def opened(self, name: str, count: int) -> _Described:
        """Check a topic, and create it first with `count` partitions if it is missing. Returns the
        topic as it is.
        """
        found = await self._cluster.patiently(name, partial(_describe, self._cluster, name))
        if found is None:
            await self._cluster.patiently(name, partial(self._create, name, count))
            found = await self._appeared(name)
        self._check_copies(name, found)
        await self._check_configs(name, found)
        return found

    async def _create(self, name: str, count: int) -> None:
        replication = self._settings.replication or await self._copies()
        configs = [(each.name, each.created_as) for each in self._wanted(name, replication)]
        topic: tuple[Any, ...] = (name, count, replication, [], configs)
        request = CreateTopicsRequest([topic], int(self._settings.timeout_s * 1_000), False)
        answer = await self._cluster.ask(self._cluster.any_broker(), request)
        ((_, code, message),) = answer.topic_errors
        if code and code != _TOPIC_EXISTS:
            error = Refused(code)
            if error.retriable:
                raise error
            raise InvalidSettings(f"Kafka refuses to create the topic {name}: {error}: {message}")

    async def _copies(self) -> int:
        """Return how many copies to create: as many as there are brokers, but at most three. At its
        first start, a cluster may show one broker of three, and what is created then stays so. So
        as many brokers as the settings name have to be there. Raises `Unavailable`.
        """
        seen = await _brokers(self._cluster)
        if seen < (wanted := min(COPIES, self._settings.named)):
            raise Unavailable(
                f"only {seen} of the brokers {self._settings.brokers} can be seen, so a topic that "
                f"is created now would have {seen} instead of {wanted} copies for ever: start the "
                f"other brokers, or set CECOCHAT_REPLICATION={seen} if that is what you want"
            )
        return min(COPIES, seen)

    async def _appeared(self, name: str) -> _Described:
        """Wait for a topic that was just created, which does not show on every broker at once."""
        deadline = asyncio.get_running_loop().time() + self._settings.timeout_s
        while asyncio.get_running_loop().time() < deadline:
            if found := await self._cluster.patiently(
                name, partial(_describe, self._cluster, name)
            ):
                return found
            await asyncio.sleep(BACKOFF_S)
        raise Unavailable(f"Kafka does not show the topic {name}, which was just created")

    def _check_copies(self, name: str, found: _Described) -> None:
        stated, copies = self._settings.replication, found.replication
        if copies < stated:
            raise InvalidSettings(
                f"a partition of {name} has only {copies} of the {stated} replicas that the "
                "settings ask for: add replicas with kafka-reassign-partitions.sh, or ask for fewer"
            )
        if not stated and copies < (wanted := min(COPIES, found.brokers)):
            raise InvalidSettings(
                f"a partition of {name} has only {copies} of the {wanted} replicas that are "
                f"possible with {found.brokers} brokers: add replicas with "
                f"kafka-reassign-partitions.sh, or set CECOCHAT_REPLICATION={copies} if that is "
                "what you want"
            )

    async def _check_configs(self, name: str, found: _Described) -> None:
        configs = await self._cluster.patiently(name, partial(_configs, self._cluster, name))
        wanted = self._wanted(name, found.replication)
        wrong = [each for each in wanted if not each.fits(configs.get(each.name, ""))]
        if not wrong:
            return
        raise InvalidSettings(
            f"the topic {name} is not safe for a log: "
            + ", ".join(f"{each.name} is {configs.get(each.name)}" for each in wrong)
            + f"; run: kafka-configs.sh --bootstrap-server {self._settings.brokers} --alter "
            f"--entity-type topics --entity-name {name} --add-config "
            + ",".join(f"{each.name}={each.created_as}" for each in wrong)
        )

    def _wanted(self, name: str, replication: int) -> list[_Wanted]:
        if name == _signals(self._settings):
            return _wanted_of_signals()
        in_sync = min(2, max(1, replication - 1))
        low = 1 if self._settings.accept_loss else in_sync
        return [
            _is("cleanup.policy", "delete"),
            _is("message.timestamp.type", "LogAppendTime"),
            self._retention(name),
            _is("retention.bytes", "-1"),
            _Wanted(
                "min.insync.replicas", str(in_sync), lambda value: low <= int(value) <= replication
            ),
            _is("unclean.leader.election.enable", "false"),
            _Wanted(
                "max.message.bytes",
                str(RECORD_BYTES_MAX),
                lambda value: int(value) >= RECORD_BYTES_MAX,
            ),
        ]

    def _retention(self, name: str) -> _Wanted:
        """Return how long the topic keeps its records: dead letters for a time, all else until an
        owner releases it.
        """
        if name != name_of(self._settings, DEAD_LETTERS):
            return _is("retention.ms", "-1")
        return _Wanted(
            "retention.ms",
            str(LETTERS_KEPT_MS),
            lambda value: int(value) == -1 or int(value) >= LETTERS_KEPT_MS,
        )


def _wanted_of_signals() -> list[_Wanted]:
    """Return how a topic has to be whose records may be lost, and are soon."""
    kept = str(signals.KEPT_MS)
    return [
        _is("cleanup.policy", "delete"),
        _is("message.timestamp.type", "LogAppendTime"),
        _Wanted("retention.ms", kept, lambda value: int(value) >= signals.KEPT_MS),
        _Wanted("segment.ms", kept, lambda _: True),
    ]


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
        len(answer.brokers),
    )


async def _brokers(cluster: Cluster) -> int:
    return len((await cluster.ask(cluster.any_broker(), DescribeTopics([]))).brokers)


def _is(name: str, wanted: str) -> _Wanted:
    return _Wanted(name, wanted, lambda value: value == wanted)


async def _configs(cluster: Cluster, name: str) -> dict[str, str]:
    request = DescribeConfigsRequest([(_TOPIC, name, None)])
    answer = await cluster.ask(cluster.any_broker(), request)
    ((code, _, _, _, entries),) = answer.resources
    check(code)
    return {entry[0]: entry[1] for entry in entries}
