"""What operators forbid, and what the application says before a message is accepted, in systems as
they run: nothing that was accepted is refused when it comes again.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sanic import Request
from sanic.response import HTTPResponse, raw
from standardwebhooks.webhooks import Webhook

from cecochat.adapters import build
from cecochat.auth.hooks import Signer
from cecochat.client import InvalidArgument, SendRejected, connect
from cecochat.client import Refused as ClientRefused
from cecochat.client.moderating import Rule
from cecochat.domain.log.ids import UserId, dialog
from cecochat.domain.moderation.before_send import BeforeSend, Breaker
from cecochat.domain.moderation.rules import FOR_GOOD_MS
from cecochat.ports.configuration import MODERATION
from cecochat.ports.moderation import Block
from cecochat.runtime import http
from cecochat.v1.errors_pb2 import ErrorCode
from cecochat.v1.events_pb2 import ROLE_MUTED, Appointment, Edit, GroupOptions, Membership
from cecochat.v1.history_pb2 import GetChatsRequest, ListMembersRequest
from cecochat.v1.messaging_pb2 import Send, ServerItem
from tests.integration.streams import Stream, message, receipt
from tests.integration.systems import Refused, Running, metric, running, settings, until_metric
from tests.integration.systems import write_document as write
from tests.support import operators
from tests.support.eventually import eventually

DIALOG = dialog(UserId("ann"), UserId("bob"))
GROUPS = [f"g:{number}" for number in range(4)]  # their homes are in several partitions
Says = Callable[[dict[str, Any]], object]
ALLOWED = {"action": "allow"}


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path, partitions=4) as system:
        yield system


async def rule(system: Running, **rules: Any) -> None:
    """Put these rules in force, and no others."""
    version = (await write(system.configuration, MODERATION, rules)).version
    for server in ("messaging", "history", "connect"):
        await until_metric(system, server, "cecochat_moderation_version", version)


async def answer(stream: Stream, send: Send) -> ServerItem:
    """What becomes of a send."""
    await stream.send(send)
    while True:
        item = await stream.next()
        if item.HasField("ack") or item.HasField("refused"):
            return item


async def code(system: Running, user: str, send: Send) -> str:
    """With which code a send of a new session is refused; empty: it is accepted."""
    async with system.stream(user) as stream:
        return code_of(await answer(stream, send))


def code_of(item: ServerItem) -> str:
    if item.HasField("ack"):
        return ""
    return ErrorCode.Name(item.refused.error.code).removeprefix("ERROR_CODE_")


async def found(system: Running) -> None:
    async with system.stream("ann") as stream:
        for chat in GROUPS:
            what = Membership(options=GroupOptions(name="Us"), added_ids=["bob"])
            made = Send(client_message_id=chat, chat_id=chat, membership=what)
            assert code_of(await answer(stream, made)) == ""


async def test_who_is_banned_is_out_at_once(system: Running) -> None:
    async with system.stream("bob") as stream:
        await rule(system, banned={"bob": FOR_GOOD_MS})
        assert (await stream.ended()).code == "BANNED"
    assert (await system.refused("bob")).code == "BANNED"
    with pytest.raises(Refused) as refused:
        await system.chats("bob", GetChatsRequest())
    assert refused.value.code == "BANNED"
    async with system.backend() as backend:
        with pytest.raises(SendRejected) as rejected:
            await backend.send("bob", "ann", "hello")
        assert rejected.value.code == "banned"
        await backend.send("system", "bob", "you are banned")
    assert await code(system, "ann", message("1", DIALOG)) == ""
    await rule(system)
    assert await code(system, "bob", message("1", DIALOG)) == ""


async def test_a_ban_ends_by_itself(system: Running) -> None:
    await rule(system, banned={"bob": int((time.time() + 3_600) * 1_000)})
    assert (await system.refused("bob")).code == "BANNED"
    await rule(system, banned={"bob": int((time.time() + 1) * 1_000)})
    await asyncio.sleep(1.1)
    assert await code(system, "bob", message("1", DIALOG)) == ""


@pytest.mark.parametrize("part", ["muted", "frozen"])
async def test_who_is_muted_reads_and_nobody_writes_in_a_frozen_chat(
    system: Running, part: str
) -> None:
    await found(system)
    chats = [DIALOG, *GROUPS]
    names = ["bob"] if part == "muted" else chats
    await rule(system, **{part: dict.fromkeys(names, FOR_GOOD_MS)})
    for chat in chats:
        assert await code(system, "bob", message(f"1{chat}", chat)) == part.upper()
        assert await code(system, "bob", receipt(f"2{chat}", chat)) == ""
    assert len((await system.chats("bob", GetChatsRequest())).chats) >= len(GROUPS)
    async with system.backend() as backend:
        for chat in GROUPS:
            await backend.send("system", chat, "be kind", as_system=True)
    await rule(system)
    for chat in chats:
        assert await code(system, "bob", message(f"1{chat}", chat)) == "", "the same may be sent"


async def test_a_slow_chat(system: Running) -> None:
    await found(system)
    await rule(system, slow=dict.fromkeys(GROUPS, 3_600))
    for chat in GROUPS:
        assert await code(system, "bob", message(f"1{chat}", chat)) == ""
        assert await code(system, "bob", message(f"1{chat}", chat)) == "", "it is the same one"
        assert await code(system, "bob", message(f"2{chat}", chat)) == "TOO_SOON"
        assert await code(system, "ann", message(f"1{chat}", chat)) == ""


async def change(system: Running, user: str, chat: str, id_: str, **what: Any) -> str:
    """With which code a change of a group is refused; empty: it is accepted."""
    send = Send(client_message_id=id_, chat_id=chat, membership=Membership(**what))
    return await code(system, user, send)


async def test_what_a_groups_admins_forbid_outlives_a_restart(tmp_path: Path) -> None:
    muted = Appointment(user_id="bob", role=ROLE_MUTED)
    opened = GroupOptions(name="Us", is_open=True)
    async with running(tmp_path, partitions=4) as system:
        await found(system)
        for chat in GROUPS:
            assert await change(system, "ann", chat, f"2{chat}", options=opened) == ""
            assert await change(system, "ann", chat, f"3{chat}", appointments=[muted]) == ""
            assert await change(system, "ann", chat, f"4{chat}", banned_ids=["cyd"]) == ""
    for again in range(2):
        async with running(tmp_path, partitions=4) as system:
            for chat in GROUPS:
                id_ = f"{again}{chat}"
                assert await code(system, "bob", message(f"5{id_}", chat)) == "FORBIDDEN"
                assert await code(system, "bob", receipt(f"6{id_}", chat)) == ""
                assert await change(system, "cyd", chat, f"7{id_}", added_ids=["cyd"]) == (
                    "NOT_FOUND"
                )
    async with running(tmp_path, partitions=4) as system:
        for chat in GROUPS:
            assert await change(system, "ann", chat, f"8{chat}", unbanned_ids=["cyd"]) == ""
            assert await change(system, "cyd", chat, f"9{chat}", added_ids=["cyd"]) == ""
            members = await system.members("ann", ListMembersRequest(chat_id=chat))
            roles = {each.user_id: each.role for each in members.members}
            assert roles["bob"] == ROLE_MUTED


async def test_who_is_blocked_writes_nothing_to_that_user(tmp_path: Path) -> None:
    async with build.moderation(settings(tmp_path)) as store:
        await store.blocks.put(Block(UserId("ann"), UserId("bob"), 1))
    async with running(tmp_path, partitions=4) as system, system.backend() as backend:
        assert await code(system, "bob", message("1", DIALOG)) == "BLOCKED"
        assert await code(system, "bob", receipt("2", DIALOG)) == ""
        assert await code(system, "ann", message("1", DIALOG)) == ""
        with pytest.raises(SendRejected) as rejected:
            await backend.send("bob", "ann", "let me in")
        assert rejected.value.code == "blocked"


async def test_a_back_end_sets_rules_and_each_is_an_act(system: Running) -> None:
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    async with system.backend() as backend:
        await backend.set_rule("muted", "bob", until=until, moderator="eve", reason="spam")
        await backend.set_rule("frozen", DIALOG)
        await backend.set_rule("slow", "g:us", seconds=30)
        assert await backend.rules() == [
            Rule("muted", "bob", until, 0),
            Rule("frozen", DIALOG, None, 0),
            Rule("slow", "g:us", None, 30),
        ]
        version = (await system.configuration.get(MODERATION)).version
        await until_metric(system, "messaging", "cecochat_moderation_version", version)
        assert await code(system, "bob", message("1", dialog(*map(UserId, ("bob", "cyd"))))) == (
            "MUTED"
        )
        assert await code(system, "ann", message("1", DIALOG)) == "FROZEN"
        await backend.lift_rule("muted", "bob", moderator="eve")
        await backend.lift_rule("frozen", DIALOG)
        assert [each.kind for each in await backend.rules()] == ["slow"]
        acts = [(each.by, each.what, each.user_id or each.chat_id) for each in await backend.acts()]
        assert acts == [
            ("shop", "not frozen", DIALOG),
            ("eve", "not muted", "bob"),
            ("shop", "slow", "g:us"),
            ("shop", "frozen", DIALOG),
            ("eve", "muted", "bob"),
        ]
        for wrong in (("muted", "no user"), ("frozen", "bob"), ("slow", "g:us"), ("king", "bob")):
            with pytest.raises(InvalidArgument):
                await backend.set_rule(*wrong)
        with pytest.raises(InvalidArgument, match="past"):
            await backend.set_rule("muted", "bob", until=until - timedelta(hours=2))
        assert len(await backend.acts()) == 5, "what is refused is no act"
    async with system.backend("send", "groups", "read", "users") as backend:
        with pytest.raises(ClientRefused, match="operate"):
            await backend.set_rule("muted", "bob")


# -- the application is asked


@dataclass
class Application:
    """Says yes, until it is told what to say."""

    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    says: Says = lambda _: {"action": "allow"}
    waits: asyncio.Event | None = None

    @property
    def texts(self) -> list[str]:
        return [each["data"]["text"] for each in self.asked]


@asynccontextmanager
async def application() -> AsyncIterator[Application]:
    made, app = Application(), http.app("application")

    @app.post("/before")
    async def before(request: Request) -> HTTPResponse:
        asked = json.loads(request.body)
        made.asked.append(asked)
        made.headers.append(dict(request.headers))
        made.bodies.append(request.body)
        if made.waits:
            await made.waits.wait()
        said = made.says(asked)
        status = said if isinstance(said, int) else 200
        return raw(json.dumps(said).encode(), status, content_type="application/json")

    async with http.serving(app, "127.0.0.1", 0) as port:
        made.url = f"http://127.0.0.1:{port}/before"
        yield made


async def ask(system: Running, url: str, **more: Any) -> BeforeSend:
    long = {"deadline_ms": 5_000}  # of a busy machine
    given = {"url": url, "created_ms": 7, "kinds": ["message", "edit"], **long, **more}
    await rule(system, before_send={"": given})
    return BeforeSend(**given)


def refuse(asked: dict[str, Any]) -> object:
    return {"action": "refuse", "reason": f"not {asked['data']['text']}"}


async def test_the_application_allows_refuses_and_wants_another_text(system: Running) -> None:
    await found(system)
    async with application() as app:
        asked = await ask(system, app.url)
        for chat in (DIALOG, *GROUPS):
            app.says = lambda _: ALLOWED
            assert await code(system, "ann", message(f"1{chat}", chat, "good")) == ""
            app.says = refuse
            async with system.stream("ann") as stream:
                item = await answer(stream, message(f"2{chat}", chat, "bad"))
            assert code_of(item) == "REJECTED"
            assert item.refused.error.message == "not bad"
            app.says = lambda _: {"action": "change", "text": "b**"}
            async with system.stream("ann") as stream:
                item = await answer(stream, message(f"3{chat}", chat, "bad"))
            assert (code_of(item), item.refused.error.replacement) == ("REJECTED", "b**")
        assert app.texts == ["good", "bad", "bad"] * 5
        secret = Signer(operators.SECRET_FILE.read_bytes()).secret(asked.endpoint)
        for body, headers in zip(app.bodies, app.headers, strict=True):
            Webhook(secret).verify(body, dict(headers))
        said = await metric(system, "messaging", 'cecochat_before_send_total{outcome="refused"}')
        assert said == 10


async def test_it_is_asked_of_edits_but_not_of_what_says_nothing(system: Running) -> None:
    async with application() as app, system.stream("ann") as stream:
        item = await answer(stream, message("1", DIALOG, "first"))
        await ask(system, app.url, kinds=["edit"])
        app.says = refuse
        assert code_of(await answer(stream, message("2", DIALOG, "second"))) == ""
        assert code_of(await answer(stream, receipt("3", DIALOG))) == ""
        edit = Edit(message_id=item.ack.message_id, text="bad")
        last = await answer(stream, Send(client_message_id="4", chat_id=DIALOG, edit=edit))
        assert code_of(last) == "REJECTED"
        assert [each["type"] for each in app.asked] == ["before_send.edit"]


async def test_what_was_accepted_is_not_refused_when_it_comes_again(system: Running) -> None:
    await found(system)
    async with application() as app:
        await ask(system, app.url)
        for chat in (DIALOG, *GROUPS):
            app.says = lambda _: ALLOWED
            async with system.stream("ann") as stream:
                first = await answer(stream, message(f"1{chat}", chat, "good"))
            app.says = refuse
            async with system.stream("ann") as stream:
                again = await answer(stream, message(f"1{chat}", chat, "good"))
            assert again.ack.message_id == first.ack.message_id != 0


@pytest.mark.parametrize("trouble", [500, 404, "nonsense", [1], {}, {"action": "drop"}])
async def test_an_answer_that_is_none_counts_as_away(system: Running, trouble: object) -> None:
    async with application() as app:
        app.says = lambda _: trouble
        await ask(system, app.url, when_away="refuse")
        assert await code(system, "ann", message("1", DIALOG)) == "REJECTED"
        await ask(system, app.url, when_away="allow")
        assert await code(system, "ann", message("2", DIALOG)) == ""


async def test_a_slow_application_is_in_nobody_elses_way(system: Running) -> None:
    async with application() as app, system.stream("ann") as ann, system.stream("bob") as bob:
        app.waits = asyncio.Event()
        await ask(system, app.url, kinds=["edit"], deadline_ms=5_000)
        first = await answer(ann, message("1", DIALOG))
        edit = Edit(message_id=first.ack.message_id, text="changed")
        await ann.send(Send(client_message_id="2", chat_id=DIALOG, edit=edit))
        await ann.send(message("3", DIALOG, "after it"))
        await eventually(lambda: app.asked)
        assert code_of(await answer(bob, message("1", DIALOG))) == "", "bob does not wait"
        app.waits.set()
        acks = [item.ack.client_message_id for item in await ann.until_acks(3)]
        assert acks == ["1", "2", "3"], "ann's sends stay in order"


async def test_who_is_away_is_left_alone_for_a_while(system: Running) -> None:
    async with application() as app, system.stream("ann") as ann:
        app.says = lambda _: 500
        await ask(system, app.url)
        begun_s = time.monotonic()
        for number in range(12):
            assert code_of(await answer(ann, message(f"{number}", DIALOG))) == ""
        assert 5 <= len(app.asked) <= 5 + (time.monotonic() - begun_s) / Breaker.PAUSE_S


@pytest.mark.parametrize("id_", ["é", "a\nb", "\U0001f600", "x" * 65])
async def test_no_name_of_a_message_keeps_it_from_being_asked_about(
    system: Running, id_: str
) -> None:
    async with application() as app:
        app.says = refuse
        await ask(system, app.url)
        for _ in range(6):
            assert await code(system, "ann", message(id_, DIALOG, "bad")) == "REJECTED"
        assert await code(system, "bob", message("1", DIALOG, "bad")) == "REJECTED"


async def test_what_is_about_one_message_says_nothing_of_others(system: Running) -> None:
    async with application() as app, system.stream("ann") as ann:
        app.says = lambda asked: 403 if asked["data"]["text"] == "drop table" else refuse(asked)
        await ask(system, app.url)
        for number in range(8):
            send = message(f"{number}", DIALOG, "drop table")
            assert code_of(await answer(ann, send)) == ""
        assert await code(system, "bob", message("1", DIALOG, "bad")) == "REJECTED"


async def test_a_client_is_told_what_to_send_instead(system: Running) -> None:
    async with application() as app:
        app.says = lambda asked: (
            {"action": "change", "text": "d**n"} if asked["data"]["text"] == "damn" else ALLOWED
        )
        await ask(system, app.url)
        async with connect(system.addresses.connect, system.token("ann")) as client:
            with pytest.raises(SendRejected) as rejected:
                await client.send("bob", "damn")
            assert rejected.value.code == "rejected"
            assert await client.send("bob", rejected.value.replacement)
