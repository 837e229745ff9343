"""What goes wrong with the backends and with what they hold; see `faults`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from redis.asyncio import Redis

from cecochat.adapters import build
from cecochat.adapters.kafka.topics import RECORD_BYTES_MAX
from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import ChatId
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import NOTHING, Copied, encode
from cecochat.ports.backplane import MESSAGES, NewRecord
from cecochat.ports.configuration import ASSIGNMENT
from cecochat.ports.reading import fold_at
from cecochat.settings.settings import load
from cecochat.v1.events_pb2 import Event
from scripts.backends.launch import Backend
from tests.support.damage import to_cassandra
from tests.support.eventually import eventually
from tests.support.hostile import metric
from tests.support.scene import PARTITIONS, Scene, meanwhile, stopped
from tests.support.server import command
from tests.support.tampering import append, fold_of, messages, opened, set_on_topic

BEHIND = 10_000  # records: more are too many for the alerts
MANY = 12_000
MANY_TO_COPY = 30_000  # an owner forwards some while it reads the others


async def _swap_owners(scene: Scene) -> None:
    """Give every partition to the other messaging server, as an operator may."""
    one, other = (each.instance_id for each in scene.cluster.of("messaging"))
    swapped = {one: other, other: one}
    async with build.configuration(load(scene.environment)) as configuration:
        await configuration.change(
            ASSIGNMENT,
            lambda old: {partition: swapped[owner] for partition, owner in old.items()},
            by="test",
        )


@asynccontextmanager
async def away(backend: Backend) -> AsyncIterator[None]:
    """Killed, and started again in the end."""
    await asyncio.to_thread(backend.kill)
    try:
        yield
    finally:
        await asyncio.to_thread(backend.start)


@asynccontextmanager
async def redis_is_away(scene: Scene) -> AsyncIterator[None]:
    async with away(scene.backends["redis"]):
        yield


@asynccontextmanager
async def redis_has_lost_its_data_and_control_hangs(scene: Scene) -> AsyncIterator[None]:
    """In the end control goes on, and restores it."""
    host, _, port = scene.backends["redis"].address.rpartition(":")
    with stopped(scene.one("control").pid):
        async with Redis(host=host, port=int(port)) as client:
            await client.flushall()
        yield
    await eventually(scene.cluster.owners, within_s=60, every_s=0.2)


@asynccontextmanager
async def cassandra_is_away_while_much_is_appended(scene: Scene) -> AsyncIterator[None]:
    """What is appended counts for nobody: it is of no owner."""
    nobody = Fold()
    nobody.epoch = Place(0, 1 << 40)
    async with away(scene.backends["cassandra"]):
        await append(scene.environment, messages(scene.quiet, PARTITIONS, MANY, nobody))
        yield


@asynccontextmanager
async def kafka_hangs_while_partitions_move(scene: Scene) -> AsyncIterator[None]:
    with stopped(scene.kafka_pid):
        await _swap_owners(scene)
        yield
    await scene.cluster.until_owned()


@asynccontextmanager
async def kafka_refuses_records(scene: Scene) -> AsyncIterator[None]:
    """They are too large for the topic, all of a sudden."""
    await set_on_topic(scene.environment, {"max.message.bytes": "1"})
    try:
        yield
    finally:
        await set_on_topic(scene.environment, {"max.message.bytes": f"{RECORD_BYTES_MAX}"})
    await scene.cluster.until_owned()


@asynccontextmanager
async def kafka_hangs_while_much_is_to_be_copied(scene: Scene) -> AsyncIterator[None]:
    """It stands still once an owner has read more than it could forward meanwhile."""
    fold = await fold_of(scene.environment, scene.quiet)
    await append(scene.environment, messages(scene.quiet, PARTITIONS, MANY_TO_COPY, fold))

    async def behind() -> bool:
        urls = [server.ready["health_url"] for server in scene.cluster.of("messaging")]
        lags = [await metric(url, "cecochat_forward_lag_records") for url in urls]
        return max(lags) > BEHIND

    await eventually(behind, within_s=30, every_s=0.1)
    with stopped(scene.kafka_pid):
        yield


@asynccontextmanager
async def kafka_and_a_server_stutter(scene: Scene) -> AsyncIterator[None]:
    """The log takes nothing for two seconds, again and again; a server has hardly any CPU."""
    kafka, history_pid = scene.kafka_pid, scene.one("history").pid
    async with meanwhile(_stutter(kafka, 2.0, 0.5)), meanwhile(_stutter(history_pid, 0.7, 0.1)):
        yield


async def _stutter(pid: int, stopped_s: float, runs_s: float) -> None:
    while True:
        with stopped(pid):
            await asyncio.sleep(stopped_s)
        await asyncio.sleep(runs_s)


@asynccontextmanager
async def records_that_nobody_understands(scene: Scene) -> AsyncIterator[None]:
    """In the end what is said there has shown that they counted for nobody."""
    headers = (("v", "?"),)
    records = [NewRecord(each, b"who", b"what", headers) for each in scene.spoken_in]
    await append(scene.environment, records)
    yield

    async def shown() -> bool:
        return "HIDDEN" not in await command(scene.environment, "audit", code=None)

    await eventually(shown, within_s=60, every_s=1)


@asynccontextmanager
async def a_row_of_the_history_is_deleted(scene: Scene) -> AsyncIterator[None]:
    """By somebody with a shell of the database; and repaired in the end."""
    settings = load(scene.environment)
    async with build.history(settings) as rows:
        page = await rows.messages(ChatId(min(scene.crowd.chats)), before=None, after=None, limit=1)
    event = Event.FromString(page.events[0])
    async with to_cassandra(settings.value("cassandra"), settings.namespace) as damage:
        await damage.delete_message(event.chat_id, event.id)

    async def named() -> bool:
        return f"{event.id}" in await command(scene.environment, "audit", code=None)

    await eventually(named)
    yield
    await command(scene.environment, "audit", "--repair")


@asynccontextmanager
async def a_partition_promises_what_it_has_not(scene: Scene) -> AsyncIterator[None]:
    """It says that it has a later message for another, where something cannot be read meanwhile; in
    the end it says how it is.
    """
    other = (scene.quiet + 1) % PARTITIONS
    promise = {other: Copied(Place(0, 1 << 40), 1)}
    await append(scene.environment, [await _state_of(scene, promise)])
    await append(scene.environment, [NewRecord(other, b"who", b"what", (("v", "?"),))])
    yield
    await append(scene.environment, [await _state_of(scene, {other: NOTHING})])


async def _state_of(scene: Scene, last: dict[int, Copied]) -> NewRecord:
    """What an owner would say there, with all groups, but for `last`."""
    async with opened(scene.environment) as log:
        _, end = await log.bounds(MESSAGES, scene.quiet)
        fold = await fold_at(log, scene.quiet, end - 1, partial(partition_of, count=PARTITIONS))
        (state,) = fold.states(end - 1, part_members=1_000)
    return NewRecord(scene.quiet, *encode(replace(state, last=state.last | last)))
