"""The back end's API: sends that count once, whoever fails meanwhile, and acting for users."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from cecochat.adapters import build
from cecochat.client import Refused, SendRejected
from cecochat.client.backend import Backend, Outgoing
from cecochat.client.syncbackend import Backend as SyncBackend
from cecochat.domain.log.ids import UserId
from cecochat.ports.keys import Erased
from cecochat.runtime.clock import now_ms
from cecochat.v1.backend_pb2 import BackendSend, BackendSendRequest, BackendSendResponse
from cecochat.v1.backend_pb2_grpc import BackendStub
from cecochat.v1.errors_pb2 import ERROR_CODE_NOT_FOUND, ERROR_CODE_UNAUTHENTICATED
from cecochat.v1.events_pb2 import Message, Reaction
from tests.integration.streams import message
from tests.integration.systems import QUICK, Running, running, settings
from tests.support.left import places_of
from tests.support.pipes import typed_error
from tests.support.server import free_ports

CHAT, SHOP = "d:alice~system", "d:alice~shop"
WHERE = {"userId": "system", "chatId": CHAT}


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path, partitions=4) as up:
        yield up


async def texts(backend: Backend, user: str, chat: str) -> list[str]:
    """What the history shows once it has all that was sent so far."""
    page = await backend.history(user).messages(chat, token=backend.token)
    return [each.text for each in page.messages]


async def test_a_send_reaches_the_session_of_its_recipient_and_counts_once(up: Running) -> None:
    async with up.backend() as backend, up.stream("alice") as alice:
        first = await backend.send("system", "alice", "your order", key="order-1")
        again = await backend.send("system", "alice", "your order", key="order-1")
        assert again == first
        await backend.send("system", "alice", "a second one")
        assert await alice.until_texts(2) == ["your order", "a second one"]
        assert await texts(backend, "alice", "system") == ["your order", "a second one"]


async def test_a_key_means_the_same_message_after_a_restart(tmp_path: Path) -> None:
    """Nobody has it in memory any more."""
    since = datetime.now(UTC)
    async with running(tmp_path) as up, up.backend() as backend:
        first = await backend.send("system", "alice", "one", key="k", since=since)
    for _ in range(2):
        async with running(tmp_path) as up, up.backend() as backend:
            assert await backend.send("system", "alice", "one", key="k", since=since) == first
            assert await backend.send("system", "alice", "one", key="k") == first
            await backend.send("system", "alice", "two", key="l")
            assert await texts(backend, "alice", "system") == ["one", "two"]


async def test_a_change_of_a_group_counts_once_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as up, up.backend() as backend:
        await backend.groups("alice").create("Us", members=["bob"], chat_id="g:us")
        added = await backend.groups("alice").add("g:us", "carol", client_message_id="add")
    async with running(tmp_path) as up, up.backend() as backend:
        assert await backend.groups("alice").add("g:us", "carol", client_message_id="add") == added
        members = await backend.groups("alice").members("g:us")
        assert [each.user_id for each in members.members] == ["alice", "bob", "carol"]


async def test_each_send_of_a_batch_is_answered_for_itself(up: Running) -> None:
    many = [Outgoing("system", f"user{n}", f"hello {n}") for n in range(1_500)]
    many[700] = Outgoing("system", "g:none", "nobody is there")
    async with up.backend() as backend:
        outcomes = await backend.send_all(many)
        assert [at for at, each in enumerate(outcomes) if each.error] == [700]
        assert outcomes[700].error
        assert outcomes[700].error.code == "not_found"
        ids = [each.message_id for each in outcomes if not each.error]
        assert len(set(ids)) == 1_499
        assert ids == sorted(ids), "one sender's sends keep their order"


async def test_the_system_speaks_in_groups_without_belonging_to_them(up: Running) -> None:
    async with up.backend() as backend, up.stream("bob") as bob:
        await backend.groups("alice").create("Us", members=["bob"], chat_id="g:us")
        with pytest.raises(SendRejected) as refused:
            await backend.send("system", "g:us", "hello")
        assert refused.value.code == "not_found"
        await backend.send("system", "g:us", "welcome", as_system=True)
        assert await bob.until_texts(1) == ["welcome"]
        assert await texts(backend, "alice", "g:us") == ["welcome"]
        with pytest.raises(SendRejected):
            await backend.send("system", "g:none", "hello", as_system=True)
        with pytest.raises(Refused, match="no group"):
            await backend.history("system").messages("g:us")


async def test_the_system_deletes_what_anybody_wrote_in_a_group(up: Running) -> None:
    async with up.backend() as backend:
        await backend.groups("alice").create("Us", members=["bob"], chat_id="g:us")
        id_ = await backend.send("bob", "g:us", "spam")
        with pytest.raises(SendRejected, match="no group"):
            await backend.delete("system", "g:us", id_, as_admin=True)
        react = BackendSend(
            user_id="system",
            chat_id="g:us",
            client_message_id="r",
            reaction=Reaction(message_id=id_, emoji="X"),
            as_system=True,
        )
        request = BackendSendRequest(sends=[react])
        (said,) = (await backend.call("Send", request, BackendSendResponse)).results
        assert said.refused.code == ERROR_CODE_NOT_FOUND, "it does not belong there"
        await backend.delete("system", "g:us", id_, as_system=True)
        assert await texts(backend, "alice", "g:us") == [""]


async def test_the_system_appoints_another_owner(tmp_path: Path) -> None:
    """Also after the owner was erased, in whose name nobody can."""
    async with running(tmp_path) as up, up.backend() as backend:
        await backend.groups("alice").create("Us", members=["bob", "carol"], chat_id="g:us")
    async with build.keys(settings(tmp_path)) as keys:
        await keys.destroy(Erased(UserId("alice"), now_ms(), "test"))
    async with running(tmp_path) as up, up.backend() as backend, up.stream("bob") as bob:
        with pytest.raises(SendRejected, match="was erased"):
            await backend.groups("alice").appoint("g:us", "bob", "owner")
        with pytest.raises(SendRejected, match="not a member"):
            await backend.appoint_owner("system", "g:us", "dave")
        id_ = await backend.appoint_owner("system", "g:us", "bob", key="hand-over")
        assert await backend.appoint_owner("system", "g:us", "bob", key="hand-over") == id_
        members = (await backend.groups("bob").members("g:us")).members
        roles = {each.user_id: each.role for each in members}
        assert roles == {"alice": "admin", "bob": "owner", "carol": "member"}
        told = await bob.until("delivered")
        assert (told.delivered.event.id, told.delivered.event.user_id) == (id_, "system")
        await backend.groups("bob").remove("g:us", "alice")
        await backend.groups("bob").appoint("g:us", "carol", "owner")


async def test_the_same_key_with_other_content_is_refused(up: Running) -> None:
    async with up.backend() as backend:
        await backend.send("system", "alice", "one", key="k")
        with pytest.raises(SendRejected, match="accepted before with other content") as refused:
            await backend.send("system", "alice", "another", key="k")
        assert refused.value.code == "reused_id"


async def test_a_key_from_the_future_is_refused(up: Running) -> None:
    async with up.backend() as backend:
        later = datetime.now(UTC) + timedelta(hours=1)
        with pytest.raises(SendRejected, match="correct your clock"):
            await backend.send("system", "alice", "one", key="k", since=later)


async def test_it_reads_what_users_see(up: Running) -> None:
    async with up.backend() as backend:
        await backend.groups("alice").create("Us", members=["bob"], chat_id="g:us")
        await backend.send("alice", "g:us", "hello")
        id_ = await backend.send("alice", "bob", "hi")
        await backend.edit("alice", "bob", id_, "hi there")
        assert await texts(backend, "bob", "alice") == ["hi there"]
        chats = {each.chat_id: each.unread_count for each in await backend.history("bob").chats()}
        assert chats == {"g:us": 1, "d:alice~bob": 1}
        assert (await backend.groups("bob").get("g:us")).role == "member"
        await backend.delete("alice", "bob", id_)
        assert await texts(backend, "bob", "alice") == [""]
        with pytest.raises(Refused, match="no group") as refused:
            await backend.groups("eve").get("g:us")
        assert refused.value.code == "not_found"


async def test_revoking_ends_sessions_and_bars_tokens(up: Running) -> None:
    async with up.backend() as backend, up.stream("alice") as alice:
        await asyncio.sleep(1.1)  # a token says in whole seconds when it was issued
        await backend.revoke_tokens("alice")
        ended = await alice.ended()
        assert ended.code == "TOKEN_REVOKED"


async def test_its_texts_are_sealed(tmp_path: Path) -> None:
    async with running(tmp_path) as up, up.backend() as backend:
        await backend.send("shop", "alice", "quicksilver", key="k")
        assert await backend.send("shop", "alice", "quicksilver", key="k")
        await backend.groups("alice").create("Us", members=["shop"], chat_id="g:us")
        await backend.send("shop", "g:us", "quicksilver")
        assert await texts(backend, "alice", "shop") == ["quicksilver"]
        plain = {Path(each).name for each in places_of([b"quicksilver"], tmp_path)}
        assert plain <= {"search.db", "search.db-wal"}, "an index knows words"
        assert places_of([b"g:us"], tmp_path), "this looks at the files"


@pytest.mark.parametrize(
    ("scopes", "fails"),
    [(("groups", "read", "users"), "send"), (("send", "read", "users"), "create"),
     (("send", "groups", "users"), "chats"), (("send", "groups", "read"), "revoke")],
)  # fmt: skip
async def test_a_token_does_what_its_scopes_say(
    up: Running, scopes: tuple[str, ...], fails: str
) -> None:
    async with up.backend(*scopes) as backend:
        acts = {
            "send": lambda: backend.send("system", "alice", "hi"),
            "create": lambda: backend.groups("alice").create("Us", chat_id="g:us"),
            "chats": lambda: backend.history("alice").chats(),
            "revoke": lambda: backend.revoke_tokens("carol"),
        }
        for name, act in acts.items():
            if name == fails:
                with pytest.raises(Refused, match="this needs the scope") as refused:
                    await act()  # type: ignore[no-untyped-call]
                assert refused.value.code == "forbidden"
            else:
                await act()  # type: ignore[no-untyped-call]


async def test_tokens_of_users_and_of_services_are_not_the_same(up: Running) -> None:
    async with Backend(up.addresses.connect, up.token("alice")) as backend:
        with pytest.raises(Refused, match="cannot be verified") as refused:
            await backend.send("alice", "bob", "hi")
        assert refused.value.code == "unauthenticated"
    async with httpx.AsyncClient(timeout=30) as client:
        headers = {"authorization": f"Bearer {up.service_token()}"}
        answer = await client.get(f"{up.addresses.connect}/v1/connect", headers=headers)
        assert answer.status_code == 401


async def test_a_service_has_a_rate_of_its_own(tmp_path: Path) -> None:
    limits = {**QUICK, "backend.rate_per_service": 1.0, "backend.burst": 1_000}
    async with running(tmp_path, limits) as up:
        url = f"{up.addresses.connect}/cecochat.v1.Backend/Send"
        sends = [
            {
                "userId": "system",
                "chatId": CHAT,
                "clientMessageId": f"{n}",
                "message": {"text": "."},
            }
            for n in range(1_000)
        ]
        headers = {"authorization": f"Bearer {up.service_token()}"}
        async with httpx.AsyncClient(timeout=30, headers=headers) as client:
            assert (await client.post(url, json={"sends": sends})).status_code == 200
            refused = await client.post(url, json={"sends": sends})
            assert refused.status_code == 429
            assert refused.json()["code"] == "resource_exhausted"
            assert int(refused.headers["retry-after"]) > 500
        async with up.stream("alice") as alice:
            await alice.send(message("x", CHAT, "mine"))
            await alice.until_acks(1)


async def test_it_is_served_over_grpc_as_well(tmp_path: Path) -> None:
    port = int(free_ports()["CECOCHAT_CONNECT_GRPC_PORT"])
    async with (
        running(tmp_path, connect_grpc_port=port) as up,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        backend: Any = BackendStub(channel)
        text = Message(text="hi")
        send = BackendSend(user_id="shop", chat_id=SHOP, client_message_id="k", message=text)
        request = BackendSendRequest(sends=[send])
        metadata = (("authorization", f"Bearer {up.service_token()}"),)
        first, again = [
            (await backend.Send(request, metadata=metadata)).results[0].message_id for _ in "12"
        ]
        assert first == again > 0
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await backend.Send(request)
        error = typed_error(refused.value)
        assert error
        assert error.code == ERROR_CODE_UNAUTHENTICATED


@pytest.mark.parametrize("count", [0, 1_001])
async def test_a_batch_has_a_size(up: Running, count: int) -> None:
    headers = {"authorization": f"Bearer {up.service_token()}"}
    async with httpx.AsyncClient(headers=headers, timeout=30) as client:
        url = f"{up.addresses.connect}/cecochat.v1.Backend/Send"
        answer = await client.post(url, json={"sends": [{}] * count})
    assert answer.status_code == 400
    assert answer.json()["message"] == f"there are {count} sends: use 1 to 1000"


async def test_the_synchronous_client_does_the_same(up: Running) -> None:
    def work() -> list[str]:
        with SyncBackend(up.addresses.connect, up.service_token) as backend:
            first = backend.send("system", "alice", "one", key="k")
            assert backend.send("system", "alice", "one", key="k") == first
            outcomes = backend.send_all([Outgoing("system", "alice", "two")])
            assert outcomes[0].message_id > first
            backend.groups("alice").create("Us", members=["bob"], chat_id="g:us")
            backend.edit("system", "alice", first, "first")
            backend.delete("system", "alice", outcomes[0].message_id)
            page = backend.history("alice").messages("system", token=backend.token)
            assert [each.text for each in page.messages] == ["first", ""]
            backend.revoke_tokens("alice")
            return [each.chat_id for each in backend.history("alice").chats()]

    assert await asyncio.to_thread(work) == ["g:us", CHAT]
