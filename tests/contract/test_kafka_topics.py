"""Topics that are not what a log needs: fewer copies, dropped by age, more partitions than it was
made with; and what brokers forget.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from aiokafka.admin import NewPartitions, NewTopic  # type: ignore[import-untyped]
from aiokafka.admin.config_resource import (  # type: ignore[import-untyped]
    ConfigResource,
    ConfigResourceType,
)

from cecochat.adapters.kafka import groups
from cecochat.adapters.kafka.backplane import KafkaBackplane
from cecochat.adapters.kafka.cluster import Cluster
from cecochat.adapters.kafka.settings import KafkaSettings
from cecochat.adapters.kafka.topics import Topics, names_of
from cecochat.domain.errors import InvalidSettings, Unavailable
from cecochat.domain.log.place import Place as LogPlace
from cecochat.ports.backplane import LETTERS_KEPT_MS, MESSAGES
from cecochat.ports.signals import KEPT_MS
from scripts.backends import kafka as kafka_kind
from scripts.backends import ports
from scripts.backends.instance import Instance
from scripts.backends.kafka import KIND, properties
from scripts.backends.launch import Backend
from tests.contract.openers import PARTITIONS, Place
from tests.contract.openers import kafka as opener
from tests.contract.private import Private
from tests.support.backplane import NOW_MS, WEEK_MS, Later, Workers, append, new
from tests.support.eventually import eventually

SAFE = {
    "retention.ms": "-1",
    "message.timestamp.type": "LogAppendTime",
    "max.message.bytes": f"{4 << 20}",
}


@pytest.fixture
async def settings(place: Place) -> AsyncGenerator[KafkaSettings]:
    """Of an empty namespace on the shared broker."""
    found = opener.settings(place)
    yield found
    await opener.remove(found)


async def made(settings: KafkaSettings, changes: Mapping[str, str], partitions: int) -> None:
    """The topic of the messages, as somebody else makes it."""
    topic = NewTopic(names_of(settings)[0], partitions, 1, topic_configs={**SAFE, **changes})
    async with opener.admin(settings) as client:
        await client.create_topics([topic])


async def refused(settings: KafkaSettings, **changes: Any) -> str:
    with pytest.raises(InvalidSettings) as refusal:
        await KafkaBackplane.open(replace(settings, **changes))
    return str(refusal.value)


async def opens(settings: KafkaSettings, **changes: Any) -> None:
    await (await KafkaBackplane.open(replace(settings, **changes))).close()


# -- what would decide by itself what is lost


async def test_a_topic_that_drops_by_age_is_refused_with_the_line_that_mends_it(
    settings: KafkaSettings,
) -> None:
    await made(settings, {"retention.ms": f"{WEEK_MS}"}, PARTITIONS)
    said = await refused(settings)
    assert f"retention.ms is {WEEK_MS}" in said
    assert said.endswith(f"--entity-name {names_of(settings)[0]} --add-config retention.ms=-1")


async def test_a_topic_that_drops_by_size_is_refused(settings: KafkaSettings) -> None:
    await made(settings, {"retention.bytes": "1000000"}, PARTITIONS)
    assert "--add-config retention.bytes=-1" in await refused(settings)


async def test_what_is_made_keeps_everything_but_dead_letters_and_signals(
    settings: KafkaSettings,
) -> None:
    await opens(settings)
    kept = {name: (await configs(settings, name))["retention.ms"] for name in names_of(settings)}
    assert list(kept.values()) == ["-1", f"{LETTERS_KEPT_MS}", "-1", f"{KEPT_MS}"]
    assert LETTERS_KEPT_MS == 30 * 24 * 3_600_000


async def configs(settings: KafkaSettings, name: str) -> dict[str, str]:
    async with opener.admin(settings) as client:
        (answer,) = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    ((_, _, _, _, entries),) = answer.resources
    return {entry[0]: entry[1] for entry in entries}


async def test_a_log_that_has_lost_its_end_drops_nothing_for_what_was_released_before(
    settings: KafkaSettings,
) -> None:
    """Offsets above its end will be given again, to records that nobody has released."""
    clock = Later()
    clock.at_s = time.time() + WEEK_MS
    log = await KafkaBackplane.open(settings, clock=clock)
    try:
        await append(log, [new(number) for number in range(3)])
        await log.release(MESSAGES, 0, 9)
        await log.trim()
        await append(log, [new(number) for number in range(3, 12)])
        await log.trim()
        assert await log.bounds(MESSAGES, 0) == (0, 12)
    finally:
        await log.close()


# -- copies


@pytest.mark.parametrize("in_sync", ["2", "3"])
async def test_more_in_sync_replicas_than_there_are_could_never_be_had(
    settings: KafkaSettings, in_sync: str
) -> None:
    await made(settings, {"min.insync.replicas": in_sync}, PARTITIONS)
    assert "--add-config min.insync.replicas=1" in await refused(settings, accept_loss=True)


@pytest.mark.parametrize(
    ("replication", "fit", "stated"),
    [(1, {1}, {1}), (2, {1, 2}, {1, 2}), (3, {2, 3}, {1, 2, 3})],
)
async def test_in_sync_replicas_fit_the_copies_or_a_loss_is_accepted(
    place: Place, replication: int, fit: set[int], stated: set[int]
) -> None:
    for accept_loss, expected in ((False, fit), (True, stated)):
        chosen = replace(opener.settings(place), accept_loss=accept_loss)
        wanted = Topics(Cluster(chosen), chosen)._wanted("messages", replication)
        (in_sync,) = [each for each in wanted if each.name == "min.insync.replicas"]
        assert {count for count in range(1, 6) if in_sync.fits(f"{count}")} == expected


def of_one_controller(instance: Instance) -> dict[str, object]:
    """The first node is the controller; the others are brokers of it, and may join later."""
    found = properties(instance)
    if found["node.id"] != "1":
        found["process.roles"] = "broker"
        found["listeners"] = f"CLIENTS://{instance.at('clients')}"
    return found


def broker(place: Place, stack: AsyncExitStack, node: int, **options: str) -> Private:
    """One of a cluster, not started."""
    if not KIND.here():
        place.backends.absent("kafka")
    given = {"node-id": f"{node}", "heap": "256m", **options}
    instance = KIND.instance(place.folder / f"kafka-{node}", ports.free(KIND), options=given)
    made = Private(Backend(KIND, instance))
    stack.push_async_callback(made.kill)
    return made


async def until_brokers(settings: KafkaSettings, count: int) -> None:
    async def seen() -> bool:
        async with opener.admin(settings) as client:
            return len((await client.describe_cluster())["brokers"]) == count

    await eventually(seen, within_s=120)


@pytest.mark.timeout(420)
async def test_fewer_copies_than_there_could_be_are_refused_unless_they_are_stated(
    place: Place, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_kind, "properties", of_one_controller)
    of_both = {"cluster-id": kafka_kind._random_id()}
    one = broker(place, stack, 1, **of_both)
    await one.start()
    controller = one.backend.instance.at("controller")
    two = broker(place, stack, 2, quorum=f"1@{controller}", **of_both)
    alone = KafkaSettings(one.address, partition_count=2, timeout_s=5)
    await opens(alone)
    await opens(alone)  # on a laptop, as often as you like
    both = replace(alone, brokers=f"{one.address},{two.address}", namespace="both")
    with pytest.raises(Unavailable, match=r"1 of the brokers .*CECOCHAT_REPLICATION=1"):
        await KafkaBackplane.open(both)
    await two.start()
    await until_brokers(alone, 2)
    said = await refused(alone)
    assert "has only 1 of the 2 replicas" in said
    assert "kafka-reassign-partitions.sh" in said
    await opens(alone, replication=1)
    await opens(both)
    assert "has only 2 of the 3 replicas" in await refused(both, replication=3)


# -- partitions


async def add_partitions(settings: KafkaSettings, names: list[str], total: int) -> None:
    """Returns when the broker shows them, which is a moment after the controller has them."""
    async with opener.admin(settings) as client:
        await client.create_partitions({name: NewPartitions(total) for name in names})

        async def shown() -> bool:
            topics = await client.describe_topics(names)
            return all(len(topic["partitions"]) == total for topic in topics)

        await eventually(shown)


@pytest.mark.parametrize("topics", [1, 2], ids=["of the messages", "of the dead letters as well"])
async def test_a_log_with_more_partitions_than_it_was_made_with_is_refused(
    settings: KafkaSettings, topics: int
) -> None:
    await opens(settings)
    await add_partitions(settings, names_of(settings)[:topics], PARTITIONS + 1)
    for wanted in (PARTITIONS, PARTITIONS + 1, None):
        said = await refused(settings, partition_count=wanted)
        assert f"has {PARTITIONS + 1} partitions, but the log was created with {PARTITIONS}" in said


async def test_a_log_of_before_is_taken_as_it_is_and_noted(settings: KafkaSettings) -> None:
    await made(settings, {}, PARTITIONS)
    await opens(settings, partition_count=None)
    await add_partitions(settings, names_of(settings)[:1], PARTITIONS + 1)
    assert f"was created with {PARTITIONS}" in await refused(settings, partition_count=None)


async def test_a_server_that_runs_takes_no_partitions_that_somebody_adds(
    settings: KafkaSettings, stack: AsyncExitStack
) -> None:
    log = await KafkaBackplane.open(settings)
    stack.push_async_callback(log.close)
    await add_partitions(settings, names_of(settings)[:1], PARTITIONS + 1)
    workers = Workers()
    async with asyncio.TaskGroup() as tasks:
        member = tasks.create_task(workers.member(log, "one"))
        await workers.until(PARTITIONS)
        assert set(workers.at_work) == set(range(PARTITIONS))
        await append(log, [new(1)])
        member.cancel()


# -- what brokers forget


def forgetful(instance: Instance) -> dict[str, object]:
    found = properties(instance)
    return {**found, "offsets.retention.minutes": 1, "offsets.retention.check.interval.ms": 1_000}


@pytest.mark.timeout(420)
async def test_how_far_a_group_is_outlasts_what_brokers_keep_by_themselves(
    place: Place, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`forward` has no members; the group of materialize has, for as long as a server runs."""
    monkeypatch.setattr(kafka_kind, "properties", forgetful)
    one = broker(place, stack, 1)
    await one.start()
    log = await KafkaBackplane.open(KafkaSettings(one.address, partition_count=1))
    stack.push_async_callback(log.close)
    workers = Workers()
    member_at, forwarded = LogPlace(NOW_MS + 2, 7), LogPlace(NOW_MS, 5)
    async with asyncio.TaskGroup() as tasks:
        member = tasks.create_task(workers.member(log, "one"))
        await workers.until(1)
        await log.commit("g", MESSAGES, {0: member_at})
        await log.commit("forward", MESSAGES, {0: forwarded})
        with monkeypatch.context() as patch:
            patch.setattr(groups, "KEPT_MS", -1)
            await log.commit("witness", MESSAGES, {0: LogPlace(NOW_MS, 6)})

        async def forgotten() -> bool:
            return await log.committed("witness", MESSAGES, 0) is None

        await eventually(forgotten, within_s=120, every_s=1)
        found = [await log.committed(each, MESSAGES, 0) for each in ("forward", "g")]
        assert found == [forwarded, member_at]
        member.cancel()
