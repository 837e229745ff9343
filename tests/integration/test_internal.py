"""What servers ask each other: the typed client and the routes of running servers, over the real
listeners, and beside other versions of the contract.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from sanic import Request
from sanic.response import HTTPResponse, raw

from cecochat.domain.cluster.configuration import Config
from cecochat.domain.log.ids import UserId
from cecochat.internal import paths
from cecochat.internal.client import InternalClient
from cecochat.internal.routes import InternalRoutes
from cecochat.internal.v1.internal_pb2 import (
    BEGAN_LIVE,
    Load,
    MaterializeLoad,
    OwnedPartition,
    Session,
    UserSessions,
)
from cecochat.ports.discovery import Instance, Service
from cecochat.runtime import http, internal
from cecochat.servers.control.loads import Loads
from cecochat.telemetry.logs import ACCESS
from cecochat.v1.history_pb2 import GetChatsRequest
from tests.integration.streams import message
from tests.integration.systems import Running, running
from tests.support import operators
from tests.support.eventually import eventually
from tests.support.versions import LATER, Change, Contract, more, same, without

ALICE, BOB = UserId("alice"), UserId("bob")
CHAT = "d:alice~bob"
WITHIN_S = 20.0
PARTITIONS = 3


@asynccontextmanager
async def asking(**options: Any) -> AsyncIterator[InternalClient]:
    async with operators.client(**options) as client:
        yield InternalClient(client)


async def server_of(up: Running, service: Service) -> Instance:
    """As discovery would name it."""
    url = up.addresses.health[service]
    async with operators.client() as client:
        server_id = (await client.get(f"{url}/documents")).json()["server_id"]
    return Instance(service, server_id, "", url, "1")


# -- the client, and the servers


async def test_each_server_says_what_it_carries(tmp_path: Path) -> None:
    async with running(tmp_path, partitions=PARTITIONS) as up, asking() as client:

        async def load(service: Service) -> Load:
            said = await client.load(await server_of(up, service))
            assert said
            return said

        assert not (await load("connect")).connect.lookups
        async with httpx.AsyncClient() as user:
            url, token = f"{up.addresses.connect}/v1/connect", f"Bearer {up.token(ALICE)}"
            assert (await user.get(url, headers={"authorization": token})).is_success
        assert (await load("connect")).connect.lookups == 1

        async with up.stream(ALICE) as alice:
            await alice.send(message("m1", CHAT), message("m2", CHAT))
            await alice.until_acks(2)
            messaging = (await load("messaging")).messaging
            assert (messaging.sessions, messaging.sends_accepted) == (1, 2)

        async def written() -> bool:
            return (await load("materialize")).materialize.rows_written == 2

        await eventually(written, WITHIN_S)
        materialize = (await load("materialize")).materialize
        assert (materialize.history_retries, materialize.lag_records) == (0, 0)

        await up.chats(ALICE, GetChatsRequest())
        history = (await load("history")).history
        assert history.queries == 1
        assert 0 < history.query_seconds < WITHIN_S


async def test_a_messaging_server_says_what_it_owns_and_how_far(tmp_path: Path) -> None:
    async with running(tmp_path, partitions=PARTITIONS) as up, asking() as client:
        server = await server_of(up, "messaging")
        before = await client.owned_by(server)
        assert before is not None
        assert before.keys() == set(range(PARTITIONS))
        async with up.stream(ALICE) as alice:
            await alice.send(message("m", CHAT))
            await alice.until_acks(1)
        after = await client.owned_by(server)
        assert after is not None
        assert sum(after.values()) > sum(before.values()), "it has read more"


async def test_a_messaging_server_says_which_sessions_it_has(tmp_path: Path) -> None:
    async with running(tmp_path, partitions=PARTITIONS) as up, asking() as client:
        server = await server_of(up, "messaging")
        async with up.stream(ALICE) as alice:
            said = await client.sessions(server, [ALICE, BOB, ALICE])
            assert said is not None
            assert said.keys() == {ALICE, BOB}
            [session] = said[ALICE].sessions
            assert session.session_id == alice.welcome.session_id
            assert (session.position, session.began) == (session.began_at, BEGAN_LIVE)
            assert not said[BOB].sessions
            owned = await client.owned_by(server)
            assert owned is not None
            assert said[ALICE].read_to == owned[said[ALICE].partition]


@pytest.mark.parametrize("count", [0, paths.USERS_MAX + 1])
async def test_a_question_for_too_many_users_has_no_answer(tmp_path: Path, count: int) -> None:
    async with running(tmp_path) as up, asking() as client:
        users = [UserId(f"user{number}") for number in range(count)]
        assert await client.sessions(await server_of(up, "messaging"), users) is None


async def test_each_question_needs_its_scope_and_people_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as up:
        server = await server_of(up, "messaging")
        with caplog.at_level(logging.INFO, ACCESS):
            found = set()
            for scope in ("metrics", "read", "people"):
                async with asking(headers=operators.headers(scope)) as client:
                    answers = {
                        "load": await client.load(server),
                        "partitions": await client.owned_by(server),
                        "sessions": await client.sessions(server, [ALICE]),
                    }
                found |= {(scope, name) for name, said in answers.items() if said is not None}
    assert found == {("metrics", "load"), ("read", "partitions"), ("people", "sessions")}
    lines = [each.getMessage() for each in caplog.records if each.name == ACCESS]
    assert len(lines) == 3, "two were refused, and one was not"
    assert all(f"GET {paths.SESSIONS} ({ALICE})" in line for line in lines)


# -- no answer


@asynccontextmanager
async def listening(add: Callable[[http.App], object]) -> AsyncIterator[str]:
    """A listener as every server has it, with routes that a test adds; its URL."""
    app = internal.app(operators.guard(), "other", "other-1", CollectorRegistry(), lambda: None)
    add(app)
    async with http.serving(app, "127.0.0.1", 0) as port:
        yield f"http://127.0.0.1:{port}"


def other(url: str, service: Service = "materialize", server_id: str = "other-1") -> Instance:
    return Instance(service, server_id, "", url, "1")


async def silent(server: Instance) -> bool:
    """Whether it has no answer to anything."""
    async with asking() as client:
        answers = (
            await client.load(server),
            await client.owned_by(server),
            await client.sessions(server, [ALICE]),
        )
    return answers == (None, None, None)


async def test_a_server_that_does_not_know_the_routes_does_not_answer() -> None:
    async with listening(lambda app: None) as url, asking() as client:
        assert await silent(other(url))
        carried = await Loads(client).of("materialize", [other(url)], Config())
        assert not carried.complete, "control must not take it for idle"
    assert await silent(other(url)), "nobody listens there any more"


def all_routes(app: http.App) -> None:
    routes = InternalRoutes(app, "other-1")
    routes.load(lambda: Load(materialize=MaterializeLoad(rows_written=7)))
    routes.partitions(lambda: [OwnedPartition(partition=1, read_to=9)])
    routes.sessions(lambda user: UserSessions(user_id=user, read_to=9))


async def test_another_server_at_the_address_does_not_answer_for_it() -> None:
    async with listening(all_routes) as url, asking() as client:
        assert await client.owned_by(other(url)) == {1: 9}
        assert await client.load(other(url))
        assert await silent(other(url, server_id="other-2"))
        assert await client.load(other(url, "messaging")) is None, "it is of another kind"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"server_id": "other-1"}', "application/json"),
        (b"\xff\xff\xff", paths.PROTOBUF),
        (b"", paths.PROTOBUF),
    ],
    ids=["JSON", "no message", "nothing"],
)
async def test_what_is_no_such_message_is_no_answer(body: bytes, kind: str) -> None:
    def add(app: http.App) -> None:
        for path in (paths.LOAD, paths.PARTITIONS, paths.SESSIONS):
            answer(app, path, body, kind)

    async with listening(add) as url:
        assert await silent(other(url))


# -- other versions


def answer(app: http.App, path: str, body: bytes, kind: str = paths.PROTOBUF) -> None:
    """Say these bytes there."""

    async def say(_: Request) -> HTTPResponse:
        return raw(body, content_type=kind)

    app.add_route(say, path, name=path.rpartition("/")[2], ctx_scope="read")


VERSIONS = [
    pytest.param(same, id="the released one"),
    pytest.param(more, id="a later one"),
    pytest.param(
        without(
            "MaterializeLoad.lag_records",
            "OwnedPartition.read_to",
            "UserSessions.partition",
            "Session.queued_bytes",
            "Session.began",
        ),
        id="one before",
    ),
]


def says_more(said: Any) -> Any:
    """With a value for what only a later version has."""
    for field, value in said.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for each in value if field.is_repeated else [value]:
                says_more(each)
    if LATER in said.DESCRIPTOR.fields_by_name:
        setattr(said, LATER, "something new")
    return said


def speaking(contract: Contract) -> Callable[[http.App], None]:
    """A server of that version, which says all that the version has."""
    load = contract.kind("Load")(server_id="other-1")
    load.materialize.rows_written = 7
    owned = contract.kind("Partitions")(server_id="other-1")
    owned.owned.add(partition=1)
    sessions = contract.kind("Sessions")(server_id="other-1")
    sessions.users.add(user_id=ALICE, read_to=9).sessions.add(session_id="s", position=8)
    said = {paths.LOAD: load, paths.PARTITIONS: owned, paths.SESSIONS: sessions}

    def add(app: http.App) -> None:
        for path, each in said.items():
            answer(app, path, says_more(each).SerializeToString())

    return add


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_server_of_another_version_is_understood(version: Change) -> None:
    async with listening(speaking(Contract(version))) as url, asking() as client:
        load = await client.load(other(url))
        assert load
        assert (load.materialize.rows_written, load.materialize.lag_records) == (7, 0)
        assert await client.owned_by(other(url)) == {1: 0}
        sessions = await client.sessions(other(url), [ALICE])
        assert sessions is not None
        [session] = sessions[ALICE].sessions
        assert sessions[ALICE].read_to == 9
        assert (session.session_id, session.position, session.queued_bytes) == ("s", 8, 0)
        loads = Loads(client)
        carried = [await loads.of("materialize", [other(url)], Config()) for _ in range(2)]
        assert [each.complete for each in carried] == [False, True], "two answers give a rate"


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_server_of_this_version_is_understood_by_another(version: Change) -> None:
    contract = Contract(version)

    def add(app: http.App) -> None:
        routes = InternalRoutes(app, "other-1")
        carried = MaterializeLoad(rows_written=7, history_retries=2, lag_records=5)
        routes.load(lambda: Load(materialize=carried))
        routes.partitions(lambda: [OwnedPartition(partition=1, read_to=9)])
        session = Session(session_id="s", position=8, began=BEGAN_LIVE, queued_bytes=3)
        routes.sessions(lambda user: UserSessions(user_id=user, sessions=[session]))

    async with listening(add) as url, operators.client(base_url=url) as client:

        async def said(name: str, path: str) -> Any:
            return contract.kind(name).FromString((await client.get(path)).content)

        load = await said("Load", paths.LOAD)
        assert (load.server_id, load.WhichOneof("service")) == ("other-1", "materialize")
        assert (load.materialize.rows_written, load.materialize.history_retries) == (7, 2)
        [owned] = (await said("Partitions", paths.PARTITIONS)).owned
        assert owned.partition == 1
        [user] = (await said("Sessions", f"{paths.SESSIONS}?user={ALICE}")).users
        assert (user.user_id, user.sessions[0].position) == (ALICE, 8)
