"""How much each app uses is counted apart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cecochat.client.backend import Backend
from cecochat.domain.hooks.endpoints import adding as adding_endpoint
from cecochat.v1.history_pb2 import GetChatsRequest
from tests.integration.shops import change as change_hooks
from tests.integration.shops import endpoint, shop
from tests.integration.streams import message
from tests.integration.systems import QUICK, Running, metric, running, until_metric
from tests.integration.test_apps import app, know
from tests.integration.test_moderation import answer, code, code_of
from tests.support.eventually import eventually

CHAT = "d:shop/alice~shop/bob"


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path, {**QUICK, "text.max_bytes": 5}, partitions=4) as system:
        await know(system, app("shop"), app("news"))
        yield system


async def of(system: Running, server: str, name: str, app_: str) -> float:
    return await metric(system, server, f'cecochat_app_{name}{{app="{app_}"}}')


async def test_what_users_do_is_counted_by_app(system: Running) -> None:
    async with system.stream("shop/alice") as alice, system.stream("shop/bob") as bob:
        for number in range(3):
            assert code_of(await answer(alice, message(f"{number}", CHAT))) == ""
        assert code_of(await answer(alice, message("x", CHAT, "too long"))) == "TOO_LARGE"
        await bob.until_texts(3)
        assert await code(system, "news/eve", message("1", "d:news/bob~news/eve")) == ""
        assert await code(system, "alice", message("1", "d:alice~bob")) == ""
        await until_metric(system, "messaging", "cecochat_sessions ", 2)
        found = {
            name: [await of(system, "messaging", name, each) for each in ("shop", "news", "")]
            for name in ("sessions", "sends_accepted_total")
        }
        assert found == {"sessions": [2, 0, 0], "sends_accepted_total": [3, 1, 1]}
        assert await of(system, "messaging", "sends_refused_total", "shop") == 1
        assert await of(system, "messaging", "deliveries_total", "shop") >= 3
        for name in (
            "sessions ",
            "sends_accepted_total",
            "sends_refused_total",
            "deliveries_total",
        ):
            by_app = await metric(system, "messaging", f"cecochat_app_{name.strip()}")
            assert by_app == await metric(system, "messaging", f"cecochat_{name}")
    await until_metric(system, "messaging", 'cecochat_app_sessions{app="shop"}', 0)


async def test_what_back_ends_do_is_counted_by_app(system: Running) -> None:
    await system.chats("news/eve", GetChatsRequest())
    async with shop() as told:
        await change_hooks(system, adding_endpoint(endpoint(told.url, name="shop", app="shop")))
        token = system.service_token(name="shop/orders")
        async with Backend(system.addresses.connect, token) as service:
            await service.send("shop/alice", "shop/bob", "hello")
            await service.history("shop/alice").chats()
        await eventually(lambda: told.texts == ["hello"])
        await until_metric(system, "hooks", 'cecochat_app_webhooks_total{app="shop"}', 1)
    assert await of(system, "connect", "backend_calls_total", "shop") == 2
    assert await of(system, "connect", "backend_sends_total", "shop") == 1
    assert await of(system, "history", "queries_total", "news") == 1
    assert await of(system, "history", "queries_total", "shop") >= 1
    assert await of(system, "messaging", "sends_accepted_total", "shop") == 1
