"""What goes wrong where an alert must fire, each as a context: wrong inside it, mended after it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Generic, NamedTuple, TypeVar

import grpc
import httpx
from redis.asyncio import Redis

from cecochat.adapters import build
from cecochat.adapters.kafka.topics import RECORD_BYTES_MAX
from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import ChatId
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import NOTHING, Copied, encode
from cecochat.ports.backplane import MESSAGES, NewRecord
from cecochat.ports.configuration import ASSIGNMENT, CONFIGURATION
from cecochat.ports.history import Hole
from cecochat.runtime.reading import fold_at
from cecochat.runtime.settings import load
from cecochat.v1.events_pb2 import Event
from cecochat.v1.history_pb2 import GetMessagesRequest
from scripts.backends.launch import Backend
from tests.support import operators
from tests.support.certificates import certificates
from tests.support.crowd import Crowd
from tests.support.damage import to_cassandra
from tests.support.eventually import eventually
from tests.support.hostile import metric
from tests.support.processes import Processes, ServerProcess
from tests.support.rawclient import RawHistory, find, history
from tests.support.records import participants
from tests.support.server import Server, command
from tests.support.tampering import append, fold_of, messages, opened, set_on_topic

PARTITIONS = 15
"""So many that one has no user of the crowd: a test may number messages there."""
RETENTION_MS = 60_000  # a quarter of it is soon over
BEHIND = 10_000  # records: more are too many for the alerts
MANY = 12_000
MANY_TO_COPY = 30_000  # an owner forwards some while it reads the others
COUNTS = {"control": 1, "messaging": 2, "materialize": 1, "history": 1, "connect": 1}


@dataclass(frozen=True)
class Scene:
    """A cluster on which people talk, and what it stands on."""

    cluster: Processes
    crowd: Crowd
    backends: Mapping[str, Backend]

    @property
    def environment(self) -> Mapping[str, str]:
        return self.cluster.environment

    def one(self, service: str) -> ServerProcess:
        (server,) = self.cluster.of(service)
        return server

    @property
    def kafka_pid(self) -> int:
        pid = self.backends["kafka"].pid
        assert pid, "Kafka does not run"
        return pid

    @property
    def quiet(self) -> int:
        """A partition on which nobody of the crowd is."""
        users = {who.user_id for who in self.crowd.devices}
        taken = {partition_of(user, PARTITIONS) for user in users}
        return min(set(range(PARTITIONS)) - taken)


# -- clients


@asynccontextmanager
async def meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """It goes on until the context is left."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        yield
        task.cancel()


@asynccontextmanager
async def tokens_that_nobody_signed(scene: Scene) -> AsyncIterator[None]:
    async with meanwhile(_look_up(f"{scene.cluster.connect_url}/v1/connect", "nonsense")):
        yield


async def _look_up(url: str, token: str) -> None:
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(trust_env=False, timeout=30, headers=headers) as client:
        while True:
            assert (await client.get(url)).status_code == httpx.codes.UNAUTHORIZED
            await asyncio.sleep(0.02)


@asynccontextmanager
async def reading(scene: Scene) -> AsyncIterator[None]:
    """No fault: somebody reads a chat again and again, whatever is answered."""
    chat = min(scene.crowd.chats)
    token = scene.crowd.token(min(participants(chat)))
    route = await find(scene.cluster.connect_url, token)
    request = GetMessagesRequest(chat_id=chat, limit=10)
    async with history(route.history, token) as pages, meanwhile(_read(pages, request)):
        yield


async def _read(pages: RawHistory, request: GetMessagesRequest) -> None:
    while True:
        with suppress(grpc.aio.AioRpcError):
            await pages.page(request)
        await asyncio.sleep(0.2)


# -- documents


@asynccontextmanager
async def more_sessions_than_may_be(scene: Scene) -> AsyncIterator[None]:
    await scene.cluster.configure({"sessions.max_per_server": 1})
    yield
    await scene.cluster.configure({"sessions.max_per_server": 1_000})


@asynccontextmanager
async def a_document_that_nobody_understands(scene: Scene) -> AsyncIterator[None]:
    await scene.cluster.configure({"new.key": 1})
    yield
    async with build.configuration(load(scene.environment)) as configuration:
        await configuration.change(CONFIGURATION, _without_new_key, by="test")


def _without_new_key(old: Mapping[str, object]) -> Mapping[str, object]:
    return {name: value for name, value in old.items() if name != "new.key"}


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


async def taken_over(scene: Scene) -> None:
    """Until every partition is served by whom it is assigned to, as they say themselves."""

    async def served() -> bool:
        found: dict[str, str] = {}
        for server in scene.cluster.of("messaging"):
            found |= dict.fromkeys(await _owned(server), server.instance_id)
        return len(found) == PARTITIONS and found == await scene.cluster.owners()

    await eventually(served, within_s=90, every_s=0.2)


async def _owned(server: ServerProcess) -> dict[str, Any]:
    async with operators.client() as client:
        shown = await client.get(f"{server.ready['health_url']}/partitions")
    owned: dict[str, Any] = shown.json()["owned"]
    return owned


# -- backends


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
    await taken_over(scene)


@asynccontextmanager
async def kafka_refuses_records(scene: Scene) -> AsyncIterator[None]:
    """They are too large for the topic, all of a sudden."""
    await set_on_topic(scene.environment, {"max.message.bytes": "1"})
    try:
        yield
    finally:
        await set_on_topic(scene.environment, {"max.message.bytes": f"{RECORD_BYTES_MAX}"})
    await taken_over(scene)


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


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """It does nothing, and its connections stay open."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@asynccontextmanager
async def records_that_nobody_understands(scene: Scene) -> AsyncIterator[None]:
    headers = (("v", "?"),)
    records = [NewRecord(each, b"who", b"what", headers) for each in range(PARTITIONS)]
    await append(scene.environment, records)
    yield


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
    async with opened(scene.environment) as log:
        _, end = await log.bounds(MESSAGES, scene.quiet)
        state = (await fold_at(log, scene.quiet, end - 1)).state(end - 1)
    return NewRecord(scene.quiet, *encode(replace(state, last=state.last | last)))


# -- servers


@asynccontextmanager
async def every_messaging_server_is_killed(scene: Scene) -> AsyncIterator[None]:
    servers = scene.cluster.of("messaging")
    for server in servers:
        await server.kill()
    yield
    async with asyncio.TaskGroup() as group:
        for server in servers:
            group.create_task(server.start())
    await taken_over(scene)


@asynccontextmanager
async def a_server_hangs(up: Server) -> AsyncIterator[None]:
    """Whoever runs it sees a process, and does not start another."""
    with stopped(up.ready["processes"]["history-1"]):
        yield


@asynccontextmanager
async def all_are_stopped(up: Server) -> AsyncIterator[None]:
    """In order, so that Consul forgets them."""
    assert await up.terminate() == 0
    yield


@asynccontextmanager
async def a_clock_is_an_hour_ahead(scene: Scene) -> AsyncIterator[None]:
    server = scene.cluster.of("messaging")[0]
    await server.kill()
    await server.start(failpoint="clock:3600000")
    yield
    await server.kill()
    await server.start()
    await taken_over(scene)


# -- which alerts these are for


On = TypeVar("On")


@asynccontextmanager
async def a_hole_that_nobody_has_acknowledged(scene: Scene) -> AsyncIterator[None]:
    """Told, as materialize tells one."""
    hole = Hole("a log", 0, 1, 2, 3, 4, ChatId(""), "trimmed", "as the test says", 5)
    async with build.history(load(scene.environment)) as database:
        await database.write([], [], None, [hole])
        yield
        await database.acknowledge(hole, "the test", 6)


@asynccontextmanager
async def a_registration_that_nobody_signed(scene: Scene) -> AsyncIterator[None]:
    name = f"{scene.environment['CECOCHAT_NAMESPACE']}-history"
    url = f"http://{scene.environment['CECOCHAT_CONSUL']}/v1/agent/service"
    async with httpx.AsyncClient(trust_env=False) as client:
        entry = {"Name": name, "ID": f"{name}-thief", "Address": "127.0.0.1", "Port": 6}
        (await client.put(f"{url}/register", json=entry)).raise_for_status()
        yield
        (await client.put(f"{url}/deregister/{name}-thief")).raise_for_status()


@asynccontextmanager
async def a_certificate_that_ends_tomorrow(scene: Scene) -> AsyncIterator[None]:
    """Of one more server, since all others go on without."""
    folder = scene.cluster.folder
    signed = certificates(folder / "certificates")
    tls = {
        "CECOCHAT_TLS_CERT_FILE": str(signed.cert_file),
        "CECOCHAT_TLS_KEY_FILE": str(signed.key_file),
    }
    beside = Processes(folder, {**scene.environment, **tls}, scene.cluster.record)
    server = await beside.add("history-2")
    yield
    await server.terminate()


class Fault(NamedTuple, Generic[On]):
    """Inside `bring(on)`, these alerts fire."""

    bring: Callable[[On], AbstractAsyncContextManager[None]]
    alerts: tuple[str, ...]


OF_A_CLUSTER: tuple[Fault[Scene], ...] = (
    Fault(tokens_that_nobody_signed, ("TokensRefused",)),
    Fault(a_certificate_that_ends_tomorrow, ("CertificateEnds",)),
    Fault(a_registration_that_nobody_signed, ("RegistrationsUnproven",)),
    Fault(more_sessions_than_may_be, ("SessionsNearLimit",)),
    Fault(a_document_that_nobody_understands, ("DocumentRefused",)),
    Fault(records_that_nobody_understands, ("DeadLetters",)),
    Fault(a_row_of_the_history_is_deleted, ("HistoryLacksRows",)),
    Fault(a_partition_promises_what_it_has_not, ("CopiesMissing",)),
    Fault(a_clock_is_an_hour_ahead, ("ClockAhead",)),
    Fault(a_hole_that_nobody_has_acknowledged, ("HistoryHoles",)),
    Fault(redis_is_away, ("ConfigurationNotFollowed", "AssignmentNotFollowed", "NoControlLeader")),
    Fault(redis_has_lost_its_data_and_control_hangs, ("StoreWentBack",)),
    Fault(
        cassandra_is_away_while_much_is_appended,
        (
            *("HistoryDoesNotTakeRows", "QueriesFail"),
            *("MaterializeFallsBehind", "MaterializeNearRetention", "RecordsWait"),
        ),
    ),
    Fault(kafka_and_a_server_stutter, ("MessagesLate", "EventLoopLate")),
    Fault(kafka_refuses_records, ("ProducerFailures",)),
    Fault(kafka_hangs_while_partitions_move, ("AppendsWait", "TakeoverDoesNotEnd")),
    Fault(
        every_messaging_server_is_killed, ("TargetDown", "ServiceGone", "PartitionsWithoutOwner")
    ),
    # Last: it leaves much to be read and copied, which a start would have to wait for.
    Fault(kafka_hangs_while_much_is_to_be_copied, ("ForwardBehind",)),
)
OF_ONE_MACHINE: tuple[Fault[Server], ...] = (
    Fault(a_server_hangs, ("ServersMissing",)),
    Fault(all_are_stopped, ("NothingToScrape",)),
)
"""Where something runs the servers and knows how many there should be: `cecochat up`."""
