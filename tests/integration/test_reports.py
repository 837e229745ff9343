"""Reports and blocks: users make them, moderators work off the queue, and every act is audited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path

import httpx
import pytest

from cecochat.client import ChatError
from cecochat.client.backend import Backend
from cecochat.client.sync import connect as sync_connect
from cecochat.client.syncbackend import Backend as SyncBackend
from tests.integration.clients import device, texts_of
from tests.integration.systems import Running, running


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path, partitions=4) as up:
        yield up


async def refusal(doing: Awaitable[object]) -> str:
    with pytest.raises(ChatError) as refused:
        await doing
    return refused.value.code


async def test_a_report_goes_from_the_reader_to_a_decision(up: Running) -> None:
    async with (
        device(up, "eve", listen=False) as eve,
        device(up, "alice", listen=False) as alice,
        up.backend() as desk,
    ):
        message_id = await eve.send("alice", "buy my pills")
        id_ = await alice.report("eve", message_id, "spam", "every day")
        assert await alice.report("eve", message_id, "other") == id_
        (queued,) = await desk.reports(with_messages=True)
        assert (queued.id, queued.reporter_id, queued.user_id) == (id_, "alice", "eve")
        assert (queued.reason, queued.text, queued.state) == ("spam", "every day", "open")
        assert queued.message
        assert queued.message.text == "buy my pills"
        assert (await desk.reports())[0].message is None

        taken = await desk.take_report(id_, "mia")
        assert (taken.state, taken.moderator) == ("taken", "mia")
        assert await refusal(desk.take_report(id_, "mo")) == "forbidden"
        assert (await desk.take_report(id_, "mo", take_over=True)).moderator == "mo"
        await eve.edit("alice", message_id, "buy nothing")
        done = await desk.decide_report(id_, "warned", "mo", note="first time")
        assert (done.state, done.decision, done.note) == ("done", "warned", "first time")
        assert await desk.decide_report(id_, "warned", "mo", note="first time") == done
        assert await refusal(desk.decide_report(id_, "banned", "mo")) == "invalid_argument"
        assert (await desk.reports(), await desk.reports("taken")) == ([], [])
        assert [each.id for each in await desk.reports("done")] == [id_]
        acts = await desk.acts()
        assert [(each.by, each.what, each.detail, each.user_id) for each in acts] == [
            ("mo", "decide", "warned", "eve"),
            ("mo", "take", "", "eve"),
            ("mia", "take", "", "eve"),
        ]
        assert {each.report_id for each in acts} == {id_}
        assert [each.by for each in await desk.acts(1, before=acts[1].id)] == ["mia"]
        assert await alice.report("eve", message_id, "spam") == id_, "it was decided about"


async def test_a_user_is_reported_again_after_a_decision(up: Running) -> None:
    async with device(up, "alice", listen=False) as alice, up.backend() as desk:
        first = await alice.report_user("eve", "spam")
        assert await alice.report_user("eve", "spam", "again") == first
        await desk.decide_report(first, "warned")
        second = await alice.report_user("eve", "spam")
        assert second != first
        assert [each.id for each in await desk.reports()] == [second]
        assert (await desk.report(second)).chat_id == ""


async def test_only_what_is_seen_can_be_reported(up: Running) -> None:
    async with device(up, "alice", listen=False) as alice, device(up, "eve") as eve:
        await alice.groups.create("Us", members=["bob"], chat_id="g:us", hides_past=True)
        in_dialog = await alice.send("bob", "between us")
        in_group = await alice.send("g:us", "among us")
        before = await alice.send("g:us", "before you came")
        for chat, message_id in (
            ("d:alice~bob", in_dialog),
            ("g:us", in_group),
            ("d:alice~eve", 12_345),
            ("g:none", in_group),
        ):
            assert await refusal(eve.report(chat, message_id, "spam")) == "not_found"
        await alice.groups.add("g:us", "eve")
        after = await alice.send("g:us", "welcome")
        await texts_of(eve, 1)
        await eve.history("g:us")  # it knows that she came
        assert await refusal(eve.report("g:us", before, "spam")) == "not_found"
        assert await eve.report("g:us", after, "spam")
        assert await refusal(alice.report("g:us", after, "spam")) == "invalid_argument"
        assert await refusal(eve.report("g:us", after, "No Such")) == "invalid_argument"
        assert await refusal(eve.report("g:us", after, "spam", "x" * 1_001)) == "too_large"
        assert await refusal(eve.report_user("eve", "spam")) == "invalid_argument"


async def test_reports_have_a_rate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of their own, which holds where queries would allow more."""
    monkeypatch.setattr("cecochat.servers.history.reporting.REPORTS_PER_S", 0.001)
    async with running(tmp_path, {"queries.burst": 1_000}) as up:
        url = f"{up.addresses.history_http}/cecochat.v1.History/Report"
        headers = {"authorization": f"Bearer {up.token('alice')}"}
        async with httpx.AsyncClient(headers=headers) as http:
            for number in range(21):
                body = {"userId": f"eve{number}", "reason": "spam"}
                answer = await http.post(url, json=body)
        assert (answer.status_code, answer.json()["code"]) == (429, "resource_exhausted")
        async with up.backend() as desk:
            assert len(await desk.reports()) == 20


async def test_users_block_each_other(up: Running) -> None:
    async with device(up, "alice", listen=False) as alice, device(up, "bob", listen=False) as bob:
        for user in ("eve", "bob", "eve"):
            await alice.block(user)
        assert [each.user_id for each in await alice.blocked()] == ["bob", "eve"]
        assert [each.user_id for each in await alice.blocked(1, after="bob")] == ["eve"]
        assert [each.user_id async for each in alice.every_blocked()] == ["bob", "eve"]
        assert await bob.blocked() == []
        await alice.unblock("bob")
        await alice.unblock("bob")
        assert [each.user_id for each in await alice.blocked()] == ["eve"]
        assert await refusal(alice.block("alice")) == "invalid_argument"
        assert await refusal(alice.blocked(after="a b")) == "invalid_argument"


async def test_moderators_need_the_scope(up: Running) -> None:
    token = up.service_token("read", "send", "users", "groups")
    async with Backend(up.addresses.connect, token) as other:
        for call in (
            other.reports(),
            other.report("x"),
            other.take_report("x"),
            other.decide_report("x", "warned"),
            other.acts(),
        ):
            assert await refusal(call) == "forbidden"
    async with up.backend() as desk:
        assert await refusal(desk.take_report("x")) == "not_found"
        assert await refusal(desk.acts(before="zz")) == "invalid_argument"
        for call in (
            desk.acts(before="0" * 70_000),
            desk.reports(after="x" * 70_000),
            desk.report("x" * 70_000),
        ):
            assert await refusal(call) == "invalid_argument"


async def test_programs_without_asyncio_can_do_the_same(up: Running) -> None:
    connect_url, alice, service = up.addresses.connect, up.token("alice"), up.service_token()

    def everything() -> list[str]:
        with sync_connect(connect_url, alice, listen=False) as client:
            client.block("eve")
            id_ = client.report_user("eve", "spam")
            assert [each.user_id for each in client.blocked()] == ["eve"]
            client.unblock("eve")
            assert client.blocked() == []
        with SyncBackend(connect_url, service) as desk:
            assert [each.id for each in desk.reports()] == [id_]
            assert desk.take_report(id_).moderator == desk.report(id_).moderator
            desk.decide_report(id_, "dismissed")
            return [each.what for each in desk.acts()]

    assert await asyncio.to_thread(everything) == ["decide", "take"]
