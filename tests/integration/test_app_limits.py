"""What an app may take: its own limits hold for it, and for no other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from cecochat.client import Client, connect
from cecochat.client import Refused as ClientRefused
from cecochat.v1.events_pb2 import GroupOptions, Membership
from cecochat.v1.history_pb2 import GetChatsRequest
from cecochat.v1.messaging_pb2 import Send
from tests.integration.streams import WITHIN_S, Ended, message
from tests.integration.systems import QUICK, Refused, Running, running
from tests.integration.test_apps import app, know
from tests.integration.test_moderation import answer, code, code_of
from tests.support.eventually import eventually

SESSIONS, RATE_PER_S = 4, 100
OF_SHOP: dict[str, Any] = {
    "text.max_bytes": 5,
    "sends.burst": 1_000,
    "sessions.max_per_app": SESSIONS,
    "sends.rate_per_app": RATE_PER_S,
    "groups.members_max": 1,
    "queries.burst": 1,
    "queries.rate_per_user": 0.1,
    "attachments.max_bytes": 4,
    "attachments.types": "image/*",
    "backend.rate_per_service": 1.0,
    "backend.burst": 1_000,
}


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Running]:
    limits = {f"app.shop.{key}": value for key, value in OF_SHOP.items()}
    async with running(tmp_path, {**QUICK, **limits}, partitions=4) as system:
        await know(system, app("shop"), app("news"))
        yield system


def chat(name: str) -> str:
    return f"d:{name}/alice~{name}/bob"


async def test_an_app_has_its_own_longest_text(system: Running) -> None:
    for name, longest, becomes in (("shop", 5, "TOO_LARGE"), ("news", 16 << 10, "")):
        async with system.stream(f"{name}/alice") as alice:
            assert alice.welcome.limits.text_max_bytes == longest
            assert code_of(await answer(alice, message("1", chat(name), "hello"))) == ""
            assert code_of(await answer(alice, message("2", chat(name), "hello!"))) == becomes
    assert await code(system, "alice", message("1", "d:alice~bob", "hello!")) == ""


async def test_the_groups_of_an_app_have_as_many_members_as_it_may(system: Running) -> None:
    for name, becomes in (("shop", "INVALID_ARGUMENT"), ("news", "")):
        options = GroupOptions(name="Team", is_open=True)
        of_two = Membership(options=options, added_ids=[f"{name}/bob"])
        made = Send(client_message_id="1", chat_id=f"g:{name}/team", membership=of_two)
        assert await code(system, f"{name}/alice", made) == becomes


async def test_the_sessions_of_an_app_are_counted_together(system: Running) -> None:
    async with AsyncExitStack() as stack:
        for name in ("shop", "news"):
            for number in range(SESSIONS):
                await stack.enter_async_context(system.stream(f"{name}/{number}"))
        full = await system.refused("shop/alice")
        assert (full.code, "this app" in full.error.message) == ("TOO_MANY_SESSIONS", True)
        assert await code(system, "news/alice", message("1", chat("news"))) == ""
    await eventually(partial(is_let_in, system, "shop/alice"))


async def is_let_in(system: Running, user: str) -> bool:
    try:
        async with system.stream(user):
            return True
    except Ended:
        return False


async def test_the_users_of_an_app_share_its_rate(system: Running) -> None:
    assert await took_s(system, "shop") > 0.95, "a second's worth at once, and a rate for long"


async def took_s(system: Running, name: str) -> float:
    """How long two users take for as many sends as the app `shop` may make in two seconds."""
    loop = asyncio.get_running_loop()
    async with (
        system.stream(f"{name}/alice") as alice,
        system.stream(f"{name}/bob") as bob,
        asyncio.TaskGroup() as group,
    ):
        begun_s = loop.time()
        for each in (alice, bob):
            await each.send(*(message(f"{n}", chat(name)) for n in range(RATE_PER_S)))
            group.create_task(each.until_acks(RATE_PER_S))
    return loop.time() - begun_s


async def test_an_app_that_waits_is_in_no_other_ones_way(system: Running) -> None:
    """It has more to send than it may in some seconds; others send in between."""
    async with system.stream("shop/alice") as greedy:
        for first in range(0, 8 * RATE_PER_S, RATE_PER_S):
            sends = (message(f"{n}", chat("shop"), "x") for n in range(first, first + RATE_PER_S))
            await greedy.send(*sends)
        await greedy.until_acks(RATE_PER_S)
        async with system.stream("news/alice") as other:
            await other.send(*(message(f"{n}", chat("news")) for n in range(RATE_PER_S)))
            await other.until_acks(RATE_PER_S)
        async with system.stream("shop/alice") as second:
            mine = (await answer(second, message("mine", chat("shop"), "y"))).ack.message_id
        assert mine
        async with asyncio.timeout(WITHIN_S):
            while greedy.items[-1].ack.message_id < mine:  # some of its own come after that
                await greedy.next()


async def test_an_app_has_its_own_rate_of_queries(system: Running) -> None:
    for name in ("news", "shop"):
        await system.chats(f"{name}/alice", GetChatsRequest())
    with pytest.raises(Refused) as refused:
        await system.chats("shop/alice", GetChatsRequest())
    assert refused.value.code == "RATE_LIMITED"
    await system.chats("news/alice", GetChatsRequest())


async def test_an_app_says_which_files_may_be_attached(system: Running) -> None:
    for name in ("news", "shop"):
        token = system.token(f"{name}/alice")
        async with connect(system.addresses.connect, token) as alice:
            await upload(alice, b"hell", "image/png")
            if name == "news":
                await upload(alice, b"hello", "text/plain")
                continue
            with pytest.raises(ClientRefused, match="4 are allowed"):
                await upload(alice, b"hello", "image/png")
            with pytest.raises(ClientRefused, match=r"use one of image/\*"):
                await upload(alice, b"hell", "text/plain")


async def upload(client: Client, content: bytes, media_type: str) -> None:
    to = client.user_id.replace("alice", "bob")
    await client.files.upload(
        to, content, name="file", media_type=media_type, client_message_id="1"
    )


@pytest.mark.parametrize(("name", "becomes"), [("shop", 429), ("news", 200)])
async def test_the_services_of_an_app_have_its_rate(
    system: Running, name: str, becomes: int
) -> None:
    url = f"{system.addresses.connect}/cecochat.v1.Backend/Send"
    send = {"userId": f"{name}/alice", "chatId": chat(name), "message": {"text": "."}}
    headers = {"authorization": f"Bearer {system.service_token(name=f'{name}/orders')}"}
    async with httpx.AsyncClient(timeout=30, headers=headers) as client:
        sends = [{**send, "clientMessageId": f"{n}"} for n in range(1_000)]
        for status in (200, becomes):
            assert (await client.post(url, json={"sends": sends})).status_code == status
