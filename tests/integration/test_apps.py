"""Several products on one system: the ids, keys and events of each are its own."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import jwt
import pytest
from prometheus_client import CollectorRegistry

from cecochat.auth.minting import AUDIENCE, mint, mint_for_service
from cecochat.auth.tokens import Verifier
from cecochat.client import Message, SendRejected, connect
from cecochat.client import Refused as ClientRefused
from cecochat.client.backend import Backend
from cecochat.domain.cluster.apps import App, adding, changing, document_of, erasing, parse
from cecochat.domain.cluster.revocations import Revocations
from cecochat.domain.errors import InvalidSettings, Refusal
from cecochat.domain.hooks.endpoints import adding as adding_endpoint
from cecochat.domain.moderation.rules import Rules
from cecochat.ports.configuration import APPS
from cecochat.v1.events_pb2 import GroupOptions, Membership
from cecochat.v1.messaging_pb2 import Send
from tests.integration.shops import change as change_hooks
from tests.integration.shops import endpoint, shop
from tests.integration.streams import message
from tests.integration.systems import Running, running, until_metric
from tests.integration.systems import write_document as write
from tests.integration.test_event_stream import tailing
from tests.integration.test_moderation import answer, code, code_of
from tests.integration.test_tokens import ED, RSA, public, signed
from tests.support.eventually import eventually

SECRET = b"a secret of thirty-two bytes, for tests!"
SERVERS = ("messaging", "history", "connect")


def app(name: str, **more: Any) -> App:
    return App(name, 1, **more)


def keys(kid: str, key: Any) -> dict[str, Any]:
    return {"keys": [public(kid, key)]}


def refused(act: Callable[[], object]) -> Refusal:
    with pytest.raises(Refusal) as found:
        act()
    return found.value


# -- tokens


def test_a_token_names_its_app() -> None:
    verifier = Verifier(secret=SECRET)
    verifier.know({"shop": app("shop")})
    assert verifier.verify(mint(SECRET, "shop/alice", 60)).user_id == "shop/alice"
    assert verifier.verify(mint(SECRET, "alice", 60)).user_id == "alice"
    unknown = refused(lambda: verifier.verify(mint(SECRET, "news/alice", 60)))
    assert (unknown.name, "no app 'news'" in unknown.message) == ("unauthenticated", True)
    verifier.know({"shop": app("shop", enabled=False)})
    assert refused(lambda: verifier.verify(mint(SECRET, "shop/alice", 60))).name == "banned"
    verifier.know({"shop": app("shop", enabled=False, erased_ms=2)})
    assert refused(lambda: verifier.verify(mint(SECRET, "shop/alice", 60))).name == "erased"


def test_the_tokens_of_an_app_are_revoked() -> None:
    verifier = Verifier(secret=SECRET)
    verifier.know({"shop": app("shop"), "news": app("news")})
    verifier.revoke(Revocations(apps={"shop": int(time.time() * 1_000) + 1_000}))
    assert refused(lambda: verifier.verify(mint(SECRET, "shop/alice", 60))).name == "token_revoked"
    for other in ("news/alice", "alice", "shop"):
        assert verifier.verify(mint(SECRET, other, 60)).user_id == other
    of_service = mint_for_service(SECRET, "shop/orders", ["send"], 60)
    assert verifier.for_services().verify(of_service).user_id == "shop/orders"


def test_an_app_is_only_behind_its_own_keys() -> None:
    verifier = Verifier(secret=SECRET)
    apps = {"shop": app("shop", keys=keys("one", ED)), "news": app("news", keys=keys("one", RSA))}
    verifier.know(apps)
    of_shop = signed("one", ED, "EdDSA", sub="alice", app="shop")
    assert verifier.verify(of_shop).user_id == "shop/alice"
    for other in (
        signed("one", ED, "EdDSA", sub="alice", app="news"),  # the key of another app
        signed("one", ED, "EdDSA", sub="alice"),  # which is none of the system
        signed("two", ED, "EdDSA", sub="alice", app="shop"),
        mint(SECRET, "shop/alice", 60),  # the system has left it to the app
    ):
        assert refused(lambda: verifier.verify(other)).name == "unauthenticated"  # noqa: B023 - now
    verifier.know({**apps, "shop": app("shop", keys=keys("one", RSA))})
    assert refused(lambda: verifier.verify(of_shop)).name == "unauthenticated"
    verifier.know({**apps, "shop": app("shop", keys=keys("one", ED), issuer="https://shop")})
    assert refused(lambda: verifier.verify(of_shop)).name == "unauthenticated"
    named = signed("one", ED, "EdDSA", sub="alice", app="shop", iss="https://shop")
    assert verifier.verify(named).user_id == "shop/alice"


def test_the_servers_of_a_process_check_a_signature_once() -> None:
    one = Verifier(secret=SECRET)
    other = one.counted(CollectorRegistry())
    other.revoke(Revocations())
    other.moderate(Rules())
    for each in (one, other):
        each.know({"shop": app("shop", keys=keys("one", ED))})
    token = signed("one", ED, "EdDSA", sub="alice", app="shop")
    with patch.object(jwt, "decode", wraps=jwt.decode) as decode:
        assert {each.verify(token).user_id for each in (one, other, one)} == {"shop/alice"}
    assert decode.call_count == 1


def test_what_services_are_told_does_not_inform_about_users() -> None:
    of_users = Verifier(secret=SECRET).counted(CollectorRegistry())
    of_users.for_services().know({})
    assert not of_users.informed.is_set()


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "shop/alice"},
        {"sub": "shop/alice", "app": "shop"},
        {"sub": "alice", "app": "Shop"},
        {"sub": "alice", "app": "shop/shop"},
        {"sub": "alice", "app": 1},
        {"sub": "alice", "app": None},
        {"sub": "alice", "app": ["shop"]},
        {"sub": "a" * 60, "app": "shop"},
    ],
)
def test_a_token_cannot_name_its_app_otherwise(claims: dict[str, Any]) -> None:
    verifier = Verifier(secret=SECRET)
    verifier.know({"shop": app("shop")})
    token = jwt.encode({**claims, "aud": AUDIENCE, "exp": time.time() + 60}, SECRET)
    assert refused(lambda: verifier.verify(token)).name == "unauthenticated"


# -- the document


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        {"more": {}},
        {"apps": []},
        {"apps": {"Shop": {"created_ms": 1}}},
        {"apps": {"shop": {}}},
        {"apps": {"shop": {"created_ms": 1, "more": 1}}},
        {"apps": {"shop": {"created_ms": 1, "enabled": 1}}},
        {"apps": {"shop": {"created_ms": 1, "keys": {"keys": []}}}},
        {"apps": {"shop": {"created_ms": 1, "issuer": 1}}},
        {"apps": {"shop": {"created_ms": 1, "enabled": False, "erased_ms": "now"}}},
        {"apps": {"shop": {"created_ms": 1, "enabled": True, "erased_ms": 1}}},
        {"apps": {f"app-{each}": {"created_ms": 1} for each in range(201)}},
    ],
)
def test_a_wrong_document_is_refused(wrong: Any) -> None:
    with pytest.raises(InvalidSettings, match="app"):
        parse(wrong)


def test_apps_are_added_and_changed() -> None:
    made = adding(app("shop"))({})
    assert parse(made) == {"shop": app("shop")}
    assert document_of(parse(made)) == made
    assert parse(changing("shop", enabled=False)(made)) == {"shop": app("shop", enabled=False)}
    assert "already" in refused(lambda: adding(app("shop"))(made)).message
    assert "no app" in refused(lambda: changing("news", enabled=False)(made)).message


def test_an_erased_app_never_comes_back() -> None:
    erased = erasing("shop", 5)(adding(app("shop"))({}))
    assert parse(erasing("shop", 6)(erased)) == {"shop": app("shop", enabled=False, erased_ms=5)}
    assert "enabled again" in refused(lambda: changing("shop", enabled=True)(erased)).message
    assert "never used" in refused(lambda: adding(app("shop"))(erased)).message


# -- a system


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path, partitions=4) as system:
        await know(system, app("shop"), app("news"))
        yield system


async def know(system: Running, *apps: App) -> None:
    document = document_of({each.name: each for each in apps})
    version = (await write(system.configuration, APPS, document)).version
    for server in SERVERS:
        await until_metric(system, server, "cecochat_apps_version", version)


def of(system: Running, name: str) -> Backend:
    return Backend(system.addresses.connect, system.service_token(name=name))


async def test_users_chat_within_their_app(system: Running) -> None:
    url = system.addresses.connect
    async with (
        connect(url, system.token("shop/alice")) as alice,
        connect(url, system.token("shop/bob")) as bob,
    ):
        await alice.send("shop/bob", "hello")
        async for event in bob:
            if isinstance(event, Message):
                assert (event.chat_id, event.text) == ("d:shop/alice~shop/bob", "hello")
                break
        chat = await alice.groups.create("Team", members=["shop/bob"])
        assert chat.startswith("g:shop/")
        await bob.send(chat, "hello, team")


async def test_nobody_reaches_another_app(system: Running) -> None:
    group = Membership(options=GroupOptions(name="Team", is_open=True), added_ids=["shop/bob"])
    made = Send(client_message_id="1", chat_id="g:shop/team", membership=group)
    assert await code(system, "shop/alice", made) == ""
    joins = Membership(added_ids=["news/eve"])
    for chat, user in (
        ("d:news/eve~shop/alice", "news/eve"),
        ("d:news/eve~shop/alice", "shop/alice"),
        ("d:eve~shop/alice", "eve"),
        ("g:shop/team", "news/eve"),
        ("g:shop/team", "eve"),
        ("g:shop/none", "news/eve"),
        ("g:team", "shop/alice"),
    ):
        assert await code(system, user, message(f"m{user}{chat}"[:64], chat)) in FOREIGN
        join = Send(client_message_id=f"j{user}{chat}"[:64], chat_id=chat, membership=joins)
        assert await code(system, user, join) in FOREIGN
    adds = Send(client_message_id="2", chat_id="g:shop/team", membership=joins)
    assert await code(system, "shop/alice", adds) == "FORBIDDEN"


FOREIGN = ("FORBIDDEN", "INVALID_ARGUMENT", "NOT_FOUND")


async def test_a_service_acts_within_its_app(system: Running) -> None:
    async with (
        of(system, "shop/orders") as shop_,
        of(system, "news/desk") as news,
        system.backend() as of_none,
    ):
        assert await shop_.send("shop/alice", "shop/bob", "hello")
        await shop_.set_rule("muted", "shop/bob", moderator="mo")
        for other in (news, of_none):
            with pytest.raises(SendRejected, match="does not belong to your app"):
                await other.send("shop/alice", "shop/bob", "hello")
            acts: list[Awaitable[object]] = [
                other.history("shop/alice").chats(),
                other.revoke_tokens("shop/alice"),
                other.set_rule("muted", "shop/alice", moderator="mo"),
            ]
            for act in acts:
                with pytest.raises(ClientRefused, match="does not belong to your app"):
                    await act
            assert await other.rules() == []
        assert [(each.kind, each.name) for each in await shop_.rules()] == [("muted", "shop/bob")]
        assert await news.acts() == []
        assert [each.user_id for each in await shop_.acts()] == ["shop/bob"]


async def test_reports_are_seen_in_their_app(system: Running) -> None:
    url = system.addresses.connect
    async with connect(url, system.token("shop/alice")) as alice:
        with pytest.raises(ClientRefused, match="does not belong to your app"):
            await alice.report_user("news/eve", "spam")
        for number in range(3):
            await alice.report_user(f"shop/bob-{number}", "spam")
    async with connect(url, system.token("news/eve")) as eve:
        await eve.report_user("news/bob", "rude")
    async with of(system, "shop/desk") as shop_, of(system, "news/desk") as news:
        (only,) = await news.reports()
        assert (only.reporter_id, only.reason) == ("news/eve", "rude")
        assert len(await shop_.reports()) == 3
        assert len(await shop_.reports(limit=2)) == 2
        with pytest.raises(ClientRefused, match="there is no report"):
            await shop_.take_report(only.id, "mo")
        (first, *_) = await shop_.reports()
        assert await news.reports(after=first.id) == [only], "it tells where others' reports are"
        assert len(await shop_.reports(after=first.id)) == 2


async def test_no_file_is_for_the_chat_of_another_app(system: Running) -> None:
    async with of(system, "news/desk") as news:
        files = news.files("news/eve")
        with pytest.raises(ClientRefused, match="does not belong to your app"):
            await files.upload("g:shop/team", b"x", client_message_id="1", name="x.txt")


async def test_webhooks_and_events_are_of_one_app(system: Running) -> None:
    async with shop() as told, shop() as others:
        await change_hooks(system, adding_endpoint(endpoint(told.url, name="shop", app="shop")))
        await change_hooks(system, adding_endpoint(endpoint(others.url, name="others")))
        assert await code(system, "news/eve", message("1", "d:news/bob~news/eve", "no")) == ""
        assert await code(system, "shop/alice", message("1", "d:shop/alice~shop/bob", "a")) == ""
        assert await code(system, "alice", message("1", "d:alice~bob", "b")) == ""
        await eventually(lambda: (told.texts, others.texts) == (["a"], ["b"]))


async def test_a_stream_of_events_ends_with_the_key_of_its_token(
    system: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cecochat.servers.hooks.streaming.IDLE_S", 0.2)
    async with tailing(system, service="shop/orders") as stream:
        assert await code(system, "news/eve", message("1", "d:news/bob~news/eve", "no")) == ""
        assert await code(system, "shop/alice", message("1", "d:shop/alice~shop/bob", "a")) == ""
        await stream.until(1)
        assert stream.texts == ["a"]
        await know(system, app("shop", keys=keys("one", ED)), app("news"))
        with pytest.raises(StopAsyncIteration):
            await stream.until(2)


async def test_a_disabled_app_is_out_at_once_and_comes_back(system: Running) -> None:
    async with system.stream("shop/alice") as stream, system.stream("news/eve") as other:
        await know(system, app("shop", enabled=False), app("news"))
        assert (await stream.ended()).code == "BANNED"
        assert code_of(await answer(other, message("1", "d:news/bob~news/eve"))) == ""
    assert (await system.refused("shop/alice")).code == "BANNED"
    await know(system, app("shop"), app("news"))
    assert await code(system, "shop/alice", message("1", "d:shop/alice~shop/bob")) == ""
