"""What goes wrong where an alert must fire, each as a context: wrong inside it, mended after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Generic, NamedTuple, TypeVar

import grpc
import httpx

from cecochat.adapters import build
from cecochat.domain.hooks.endpoints import Endpoint, adding, removing
from cecochat.domain.log.ids import ChatId
from cecochat.domain.log.place import Place
from cecochat.ports.backplane import MESSAGES
from cecochat.ports.configuration import CONFIGURATION, HOOKS
from cecochat.ports.history import Hole
from cecochat.runtime.clock import now_ms
from cecochat.settings.settings import load
from cecochat.v1.history_pb2 import GetMessagesRequest
from tests.support.certificates import certificates
from tests.support.faults_of_backends import (
    a_partition_promises_what_it_has_not,
    a_row_of_the_history_is_deleted,
    cassandra_is_away_while_much_is_appended,
    kafka_and_a_server_stutter,
    kafka_hangs_while_much_is_to_be_copied,
    kafka_hangs_while_partitions_move,
    kafka_refuses_records,
    records_that_nobody_understands,
    redis_has_lost_its_data_and_control_hangs,
    redis_is_away,
)
from tests.support.processes import Processes
from tests.support.rawclient import RawHistory, find, history
from tests.support.records import participants
from tests.support.scene import Scene, meanwhile, stopped
from tests.support.server import Server
from tests.support.tampering import opened

# -- clients


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
    await scene.cluster.until_owned()


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
    await scene.cluster.until_owned()


# -- which alerts these are for

On = TypeVar("On")


@asynccontextmanager
async def a_hole_that_nobody_has_acknowledged(scene: Scene) -> AsyncIterator[None]:
    """ReliableStates, as materialize tells one."""
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


# -- endpoints of webhooks


@asynccontextmanager
async def an_endpoint_is_away(scene: Scene) -> AsyncIterator[None]:
    async with _told(scene, "http://127.0.0.1:9/"):
        yield


@asynccontextmanager
async def an_endpoint_refuses_webhooks(scene: Scene) -> AsyncIterator[None]:
    """From the second on, since alerts look for a rise from what was seen before."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 422 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server, _told(scene, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"):
        yield


@asynccontextmanager
async def the_log_drops_what_an_endpoint_was_not_told(scene: Scene) -> AsyncIterator[None]:
    made = Endpoint("shop", "http://127.0.0.1:9/", now_ms())
    async with opened({**scene.environment, "CECOCHAT_RETENTION_MS": "1"}) as log:
        start, _ = await log.bounds(MESSAGES, scene.quiet)
        await log.release(MESSAGES, scene.quiet, start + 1)
        await log.trim()
        await log.commit(made.group, MESSAGES, {scene.quiet: Place(0, start)})
    async with _added(scene, made):
        yield


@asynccontextmanager
async def the_log_has_lost_what_an_endpoint_was_told(scene: Scene) -> AsyncIterator[None]:
    """It seems so: what stands there came later."""
    made = Endpoint("shop", "http://127.0.0.1:9/", now_ms())
    busy = min(scene.spoken_in)
    async with opened(scene.environment) as log:
        _, end = await log.bounds(MESSAGES, busy)
        await log.commit(made.group, MESSAGES, {busy: Place(1, end)})
    async with _added(scene, made):
        yield


@asynccontextmanager
async def _told(scene: Scene, url: str) -> AsyncIterator[None]:
    async with _added(scene, Endpoint("shop", url, now_ms())):
        yield


@asynccontextmanager
async def _added(scene: Scene, made: Endpoint) -> AsyncIterator[None]:
    async with build.configuration(load(scene.environment)) as configuration:
        await configuration.change(HOOKS, adding(made), by="test")
        yield
        await configuration.change(HOOKS, removing("shop"), by="test")


class Fault(NamedTuple, Generic[On]):
    """Inside `bring(on)`, these alerts fire."""

    bring: Callable[[On], AbstractAsyncContextManager[None]]
    alerts: tuple[str, ...]


OF_A_CLUSTER: tuple[Fault[Scene], ...] = (
    Fault(an_endpoint_refuses_webhooks, ("HooksParked",)),
    Fault(an_endpoint_is_away, ("HooksWait", "HooksNearRetention")),
    Fault(the_log_drops_what_an_endpoint_was_not_told, ("HooksDropped",)),
    Fault(the_log_has_lost_what_an_endpoint_was_told, ("HooksLostPlace",)),
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
    Fault(kafka_hangs_while_partitions_move, ("AppendsWait", "TakeoverDoesNotEnd", "GroupsWait")),
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
