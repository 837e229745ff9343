"""What control makes of what servers say they carry."""

from __future__ import annotations

import httpx
import pytest

from cecochat.domain.cluster.configuration import Config
from cecochat.domain.cluster.scaling import Load, Strain
from cecochat.internal import paths
from cecochat.internal.client import InternalClient
from cecochat.internal.v1.internal_pb2 import (
    ConnectLoad,
    HistoryLoad,
    MaterializeLoad,
    MessagingLoad,
)
from cecochat.internal.v1.internal_pb2 import Load as Said
from cecochat.ports.discovery import Instance, Service
from cecochat.servers.control.loads import Loads

CONFIG = Config()


def server(service: Service, name: str) -> Instance:
    return Instance(service, name, f"{name}:1", f"http://{name}", "1")


def messaging(sessions: int, sends: int) -> Said:
    return Said(messaging=MessagingLoad(sessions=sessions, sends_accepted=sends))


def connect(lookups: int) -> Said:
    return Said(connect=ConnectLoad(lookups=lookups))


class Servers:
    """Say that they carry what a test says, at the times that it says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: dict[str, Said] = {}
        self.now_s = 0.0
        self.http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))
        monkeypatch.setattr("cecochat.servers.control.loads.time.monotonic", lambda: self.now_s)

    @property
    def loads(self) -> Loads:
        return Loads(InternalClient(self.http))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        said = self.said.get(request.url.host)
        if said is None or request.url.path != paths.LOAD:
            return httpx.Response(503)
        raw = said.SerializeToString()
        return httpx.Response(200, content=raw, headers={"content-type": paths.PROTOBUF})

    def say(self, name: str, said: Said) -> None:
        said.server_id = name
        self.said[name] = said


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> Servers:
    return Servers(monkeypatch)


async def test_rates_are_those_of_all_servers_since_the_reading_before(servers: Servers) -> None:
    read, pair = servers.loads, [server("messaging", "a"), server("messaging", "b")]
    servers.say("a", messaging(7, 100))
    servers.say("b", messaging(5, 900))
    assert not (await read.of("messaging", pair, CONFIG)).complete
    servers.now_s = 5.0
    servers.say("a", messaging(8, 200))
    servers.say("b", messaging(5, 950))
    assert await read.of("messaging", pair, CONFIG) == (
        (
            Load("sessions", 13, CONFIG.scale_messaging_target),
            Load("sends/s", 30, CONFIG.scale_messaging_target_sends),
        ),
        (),
        True,
    )


async def test_a_server_that_does_not_answer_makes_it_incomplete(servers: Servers) -> None:
    read, pair = servers.loads, [server("connect", "a"), server("connect", "b")]
    for servers.now_s in (1.0, 2.0):
        servers.say("a", connect(int(servers.now_s * 10)))
        found = await read.of("connect", pair, CONFIG)
    assert found.loads == (Load("lookups/s", 10, CONFIG.scale_connect_target),)
    assert not found.complete


async def test_a_counter_that_began_again_is_no_load_below_none(servers: Servers) -> None:
    read, one = servers.loads, [server("connect", "a")]
    for servers.now_s, count in ((1.0, 1_000), (2.0, 3)):
        servers.say("a", connect(count))
        found = await read.of("connect", one, CONFIG)
    assert found.loads == (Load("lookups/s", 0, CONFIG.scale_connect_target),)


@pytest.mark.parametrize("retries", [0, 3], ids=["load", "database"])
async def test_where_the_database_is_away_neither_more_nor_fewer_help(
    servers: Servers, retries: int
) -> None:
    read, one = servers.loads, [server("materialize", "a")]
    for servers.now_s in (1.0, 2.0):
        carried = MaterializeLoad(lag_records=50_000, history_retries=retries * int(servers.now_s))
        servers.say("a", Said(materialize=carried))
        found = await read.of("materialize", one, CONFIG)
    rows = Load("rows/s", 0, CONFIG.scale_materialize_target)
    behind = Strain("records behind", 50_000, CONFIG.scale_materialize_lag_max)
    assert (found.loads, found.strains) == (((), ()) if retries else ((rows,), (behind,)))


async def test_the_time_of_a_query_is_that_of_the_last_ones(servers: Servers) -> None:
    read, one = servers.loads, [server("history", "a")]
    for servers.now_s, count, total_s in ((10.0, 100, 1.0), (20.0, 150, 11.0)):
        carried = HistoryLoad(queries=count, query_seconds=total_s)
        servers.say("a", Said(history=carried))
        found = await read.of("history", one, CONFIG)
    assert found.loads == (Load("queries/s", 5, CONFIG.scale_history_target),)
    assert found.strains == (Strain("ms a query", 200, CONFIG.scale_history_latency_max_ms),)
