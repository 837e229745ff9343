"""The contract of blocking queries, against a Consul that answers as a test says."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from cecochat.adapters.consul import following
from cecochat.adapters.consul.discovery import ConsulDiscovery
from cecochat.adapters.consul.services import registration
from cecochat.adapters.consul.settings import ConsulSettings
from cecochat.ports.discovery import Instance, Unproven
from tests.support.eventually import eventually

PATH = "/v1/health/service/cecochat-messaging"
DEADLINE_S = 30
SECRET = b"of the tests of this file"
Query = dict[str, str]
Answer = Callable[[], Awaitable[web.StreamResponse]]


def entry(name: str) -> dict[str, Any]:
    """As Consul lists a server that has no address but its node's."""
    instance = Instance("messaging", name, "10.0.0.1:7", "http://10.0.0.1:8", "1")
    meta = registration(ConsulSettings("unset:0", SECRET), instance)["meta"]
    service = {"ID": name, "Address": "", "Port": 7, "Meta": meta}
    return {"Node": {"Address": "10.0.0.1"}, "Service": service}


def entries(index: int, *ids: str) -> Answer:
    """An answer that lists these instances."""

    async def answer() -> web.StreamResponse:
        return web.json_response(
            [entry(name) for name in ids], headers={"X-Consul-Index": str(index)}
        )

    return answer


def failure(status: int) -> Answer:
    async def answer() -> web.StreamResponse:
        return web.Response(status=status, text="No cluster leader")

    return answer


async def nothing_new() -> web.StreamResponse:
    """Longer than any test; the fake is told when one ends."""
    await asyncio.sleep(DEADLINE_S)
    raise AssertionError("a query was asked until now")


@dataclass
class Fake:
    """Answers the queries for messaging in turn, the last answer again and again."""

    answers: list[Answer] = field(default_factory=lambda: [nothing_new])
    queries: list[Query] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    settings: ConsulSettings = field(default_factory=lambda: ConsulSettings("unset:0", SECRET))

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path != PATH:
            return await (nothing_new() if "index" in request.query else entries(1)())
        self.queries.append(dict(request.query))
        self.at.append(asyncio.get_running_loop().time())
        return await (self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])()


@pytest.fixture
async def consul() -> AsyncGenerator[Fake]:
    fake = Fake()
    server = web.Server(fake.answer, handler_cancellation=True)
    listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    fake.settings = ConsulSettings(f"127.0.0.1:{port}", SECRET, grace_s=0.3)
    yield fake
    listening.close()
    await server.shutdown(0)


def ids(discovery: ConsulDiscovery) -> str:
    return "".join(instance.instance_id for instance in discovery.live("messaging"))


async def test_a_query_waits_at_the_index_of_the_last_answer(consul: Fake) -> None:
    consul.answers = [entries(5, "a"), entries(7, "a", "b"), nothing_new]
    async with ConsulDiscovery.open(consul.settings) as discovery:
        assert ids(discovery), "open waits for the first answer"
        await eventually(lambda: len(consul.queries) == 3)
        assert ids(discovery) == "ab"
    assert consul.queries == [
        {"passing": "1"},
        {"passing": "1", "index": "5", "wait": "55s"},
        {"passing": "1", "index": "7", "wait": "55s"},
    ]


async def test_an_index_that_goes_backwards_is_begun_anew_and_nobody_dies_of_it(
    consul: Fake,
) -> None:
    consul.answers = [entries(500, "a", "b"), entries(3, "b"), entries(4, "b"), nothing_new]
    async with ConsulDiscovery.open(consul.settings) as discovery:
        await eventually(lambda: len(consul.queries) == 4)
        assert ids(discovery) == "ab"
    indexes = [query.get("index") for query in consul.queries]
    assert indexes == [None, "500", None, "4"]
    assert consul.queries[3]["wait"] == "1s", "until the grace is over, not for 55 s"


async def test_an_index_below_1_does_not_become_a_query_that_never_blocks(consul: Fake) -> None:
    consul.answers = [entries(0, "a"), nothing_new]
    async with ConsulDiscovery.open(consul.settings):
        await eventually(lambda: len(consul.queries) == 2)
    assert consul.queries[1]["index"] == "1"


async def test_after_the_grace_those_that_are_not_listed_are_dead(consul: Fake) -> None:
    consul.answers = [entries(5, "a", "b"), failure(500), entries(5, "b")]
    async with ConsulDiscovery.open(consul.settings) as discovery:
        seen = []
        async with asyncio.timeout(DEADLINE_S), aclosing(discovery.watch("messaging")) as sets:
            async for _ in sets:
                seen.append(ids(discovery))
                if seen[-1] == "b":
                    break
    assert seen == ["ab", "b"]


async def test_failures_are_said_once_and_asked_again_ever_more_slowly(
    consul: Fake, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "RETRY_S", 0.01)
    caplog.set_level(logging.INFO, "cecochat")
    consul.answers = [entries(5, "a"), *[failure(500)] * 5, entries(5, "a"), nothing_new]
    async with ConsulDiscovery.open(consul.settings) as discovery:
        await eventually(lambda: len(consul.queries) == 8)
        assert ids(discovery) == "a"
    assert [query.get("index") for query in consul.queries[2:7]] == [None] * 5
    pauses = [after - before for before, after in zip(consul.at[1:], consul.at[2:], strict=False)]
    for failures, pause_s in enumerate(pauses[:5]):
        assert pause_s >= 0.01 * 2**failures / 2
    assert [message.split(": ", 1)[-1] for message in caplog.messages] == [
        "500 No cluster leader: the servers that were live stay in use until it answers",
        "Consul answers again",
    ]


async def test_answers_without_a_wait_are_paced(
    consul: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "PACE_S", 0.2)
    consul.answers = [entries(5, "a")]
    async with ConsulDiscovery.open(consul.settings):
        await eventually(lambda: len(consul.queries) == 4)
    pauses = [after - before for before, after in zip(consul.at, consul.at[1:], strict=False)]
    assert min(pauses) >= 0.19


async def test_a_long_list_is_taken_in_seldom(consul: Fake) -> None:
    consul.answers = [entries(5, *map(str, range(300)))]
    async with ConsulDiscovery.open(consul.settings):
        await eventually(lambda: len(consul.queries) == 3)
    pauses = [after - before for before, after in zip(consul.at, consul.at[1:], strict=False)]
    assert min(pauses) >= 0.3


async def test_what_others_have_registered_without_our_meta_is_not_believed(consul: Fake) -> None:
    async def listed() -> web.StreamResponse:
        job = {"ID": "job-7", "Address": "", "Port": 7}
        body = [{"Node": {"Address": "10.0.0.1"}, "Service": job}, entry("a")]
        return web.json_response(body, headers={"X-Consul-Index": "5"})

    consul.answers = [listed, nothing_new]
    async with ConsulDiscovery.open(consul.settings) as discovery:
        assert ids(discovery) == "a"
        assert discovery.unproven == (Unproven("messaging", "job-7", "10.0.0.1:7"),)
