"""The TypeScript client on Node, and in part on Deno and Bun, against the real system."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cecochat.client import FOR_GOOD, ChatSettings, connect
from tests.integration.systems import QUICK, Running, running
from tests.support import server as processes
from tests.support.backends import Backends
from tests.support.eventually import eventually
from tests.support.rawclient import mint
from tests.support.typescript import CallFailed, TypeScriptClient, built, opened

CONNECTED = {"state": "connected"}


RUNTIMES = {"node": ("node",), "deno": ("deno", "run", "--allow-all"), "bun": ("bun", "run")}


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest, backends: Backends) -> tuple[str, ...]:
    """How a script is run."""
    backends.program(request.param)
    return RUNTIMES[request.param]


@pytest.fixture
def dist(backends: Backends) -> Path:
    return built(backends)


def client(dist: Path, system: Running, user: str, **options: Any) -> Any:
    return opened(dist, system.addresses.connect, system.token(user), **options)


def texts(client: TypeScriptClient) -> list[str]:
    return [message["text"] for message in client.values("message")]


async def until_connected(*clients: TypeScriptClient) -> None:
    for each in clients:
        await each.until_values("status", lambda values: CONNECTED in values)


async def test_two_users_chat(tmp_path: Path, dist: Path, runtime: tuple[str, ...]) -> None:
    async with (
        running(tmp_path) as system,
        client(dist, system, "alice", runtime=runtime) as alice,
        client(dist, system, "bob", runtime=runtime) as bob,
    ):
        await until_connected(alice, bob)
        sent = await alice.call("send", "bob", "hello")
        [message] = await bob.until_values("message", lambda values: len(values) == 1)
        assert (message["id"], message["userId"], message["text"]) == (sent, "alice", "hello")
        [own] = await alice.until_values("sent", lambda values: len(values) == 1)
        assert own["id"] == sent
        assert await bob.call("recent", "alice") == [message]
        await alice.until_values(
            "receipt", lambda values: values != [] and is_delivered(values[-1], sent)
        )
        assert await alice.call("search", "HELL") == [own]
        assert await bob.call("search", "hello", {"chat": "carol"}) == []
        await bob.call("markRead", "alice", f"{sent}n")
        await alice.until_values("receipt", lambda values: values[-1]["readUpTo"] == sent)


async def test_users_report_and_block(tmp_path: Path, dist: Path, runtime: tuple[str, ...]) -> None:
    async with (
        running(tmp_path) as system,
        client(dist, system, "alice", runtime=runtime) as alice,
        client(dist, system, "eve", runtime=runtime) as eve,
        system.backend() as desk,
    ):
        await until_connected(alice, eve)
        sent = await eve.call("send", "alice", "buy my pills")
        id_ = await alice.call("report", "eve", f"{sent}n", "spam", "every day")
        of_user = await alice.call("reportUser", "eve", "rude")
        assert [(each.id, each.text) for each in await desk.reports()] == [
            (id_, "every day"),
            (of_user, ""),
        ]
        await alice.call("block", "eve")
        await alice.call("block", "bob")
        assert [each["userId"] for each in await alice.call("blocked")] == ["bob", "eve"]
        await alice.call("unblock", "bob")
        assert [each["userId"] for each in await alice.call("blocked")] == ["eve"]


async def test_a_request_is_shown_and_accepted(tmp_path: Path, dist: Path) -> None:
    keys = {**QUICK, "strangers.messages_max": 1}
    async with (
        running(tmp_path, keys) as system,
        client(dist, system, "alice") as alice,
        client(dist, system, "eve") as eve,
    ):
        await until_connected(alice, eve)
        await eve.call("send", "alice", "do you know me?")
        with pytest.raises(CallFailed) as refused:
            await eve.call("send", "alice", "hello?")
        assert refused.value.code == "stranger"
        await eventually(partial(has_request, alice))
        await alice.call("setChat", "eve", {"accepted": True})
        await eventually(partial(is_accepted, alice))


async def has_request(client: TypeScriptClient) -> bool:
    return any(each["isRequest"] for each in await client.call("chats"))


async def is_accepted(client: TypeScriptClient) -> bool:
    (chat,) = await client.call("chats")
    return bool(chat["settings"]["accepted"]) and not chat["isRequest"]


async def test_what_a_user_sets_for_a_chat_is_on_all_their_devices(
    tmp_path: Path, dist: Path
) -> None:
    muted = {
        "mutedUntil": "9999-12-31T23:59:59.000Z",
        "archived": True,
        "pinned": True,
        "accepted": False,
    }
    plain = {"archived": False, "pinned": False, "accepted": False}
    async with (
        running(tmp_path) as system,
        client(dist, system, "alice") as alice,
        client(dist, system, "bob") as bob,
        client(dist, system, "bob") as other,
        connect(system.addresses.connect, system.token("bob")) as python,
    ):
        await until_connected(alice, bob, other)
        await alice.call("send", "bob", "hello")
        await python.set_chat("alice", ChatSettings(FOR_GOOD, archived=True, pinned=True))
        [first] = await bob.until_values("settingschanged", lambda values: len(values) == 1)
        assert (first["chatId"], first["settings"]) == ("d:alice~bob", muted)
        set_ = await bob.call("setChat", "alice", {"pinned": True})
        told = await other.until_values("settingschanged", lambda values: len(values) == 2)
        assert (told[1]["id"], told[1]["settings"]) == (set_, plain | {"pinned": True})
        assert "clientMessageId" in bob.values("settingschanged")[1]
        [chat] = await bob.call("chats")
        assert chat["settings"] == plain | {"pinned": True}
        [chat] = await alice.call("chats")
        assert chat["settings"] == plain
        assert alice.values("settingschanged") == []


def is_delivered(receipt: Any, message_id: str) -> bool:
    return bool(receipt["deliveredUpTo"] == message_id and receipt["userId"] == "bob")


async def test_a_dialog_shows_who_types_and_who_is_there(tmp_path: Path, dist: Path) -> None:
    about = {"chatId": "d:alice~bob", "userId": "bob"}
    async with running(tmp_path) as system, client(dist, system, "alice") as alice:
        await alice.call("watch", ["bob"])
        await alice.until_values("presence", lambda values: values == [{**about, "online": False}])
        async with client(dist, system, "bob") as bob:
            await alice.until_values(
                "presence", lambda values: values[1:] == [{**about, "online": True}]
            )
            await bob.call("typing", "alice")
            await alice.until_values("typing", lambda values: values == [{**about, "active": True}])
            await bob.call("send", "alice", "hello")
            await alice.until_values(
                "typing", lambda values: values[1:] == [{**about, "active": False}]
            )
            await alice.until(lambda _: texts(alice) == ["hello"])  # both come at once
            await bob.call("hide")
            await alice.until_values(
                "presence", lambda values: values[2:] == [{**about, "online": False}]
            )
            await bob.call("hide", False)
            await alice.until_values(
                "presence", lambda values: values[3:] == [{**about, "online": True}]
            )
        await alice.until_values("presence", lambda values: "lastSeen" in values[-1])
        await alice.call("watch", ["g:team"])
        [refused] = await alice.until_values("signalrefused", lambda values: values != [])
        assert refused["error"]["code"] == "not_found"


async def test_a_send_that_is_refused_is_rejected_and_the_next_is_not(
    tmp_path: Path, dist: Path
) -> None:
    async with running(tmp_path) as system, client(dist, system, "alice") as alice:
        await until_connected(alice)
        await alice.call("send", "bob", "one", {"clientMessageId": "same"})
        refused = alice.begin("send", "bob", "two", {"clientMessageId": "same"})
        follows = alice.begin("send", "bob", "three")
        with pytest.raises(CallFailed) as caught:
            await refused
        assert (caught.value.code, caught.value.kind) == ("reused_id", "SendRejected")
        await follows
        assert [each["text"] for each in alice.values("sent")] == ["one", "three"]


@pytest.mark.parametrize(
    ("to", "text", "options"),
    [
        ("alice", "to myself", {}),
        ("two words", "hi", {}),
        ("bob", "", {}),
        ("bob", "x" * (64 << 10), {}),
        ("bob", "hi", {"clientMessageId": "x" * 65}),
        ("bob", "half \ud83d", {}),
    ],
)
async def test_what_no_server_takes_does_not_leave(
    tmp_path: Path, dist: Path, to: str, text: str, options: dict[str, str]
) -> None:
    async with running(tmp_path) as system, client(dist, system, "alice") as alice:
        await until_connected(alice)
        with pytest.raises(CallFailed) as caught:
            await alice.call("send", to, text, options)
        assert caught.value.code == "invalid_argument"
        await alice.call("send", "bob", "after that")


async def test_a_token_that_is_no_good_closes_the_client(tmp_path: Path, dist: Path) -> None:
    async with running(tmp_path) as system:
        token = system.token("alice")[:-4] + "AAAA"
        async with opened(dist, system.addresses.connect, token) as alice:
            sending = alice.begin("send", "bob", "hello")
            await alice.until_values(
                "status", lambda values: values != [] and is_closed(values[-1])
            )
            with pytest.raises(CallFailed) as caught:
                await sending
            assert caught.value.code == "unauthenticated"


def is_closed(status: Any) -> bool:
    return bool(status["state"] == "closed" and status["error"]["code"] == "unauthenticated")


async def test_a_new_token_is_taken_before_the_old_one_ends(tmp_path: Path, dist: Path) -> None:
    async with running(tmp_path) as system:
        short = system.token("alice", lifetime_s=6)  # a start on a busy machine takes seconds
        async with opened(dist, system.addresses.connect, short) as alice:
            alice.token(system.token("alice"))
            await until_connected(alice)
            await asyncio.sleep(7)  # longer than the first token lasts
            await alice.call("send", "bob", "still here")
            states = [status["state"] for status in alice.values("status")]
            assert states.count("connected") == 1


async def test_a_program_that_is_killed_goes_on_where_it_was(
    tmp_path: Path, dist: Path, runtime: tuple[str, ...]
) -> None:
    """What it had queued is sent once, what it missed arrives once."""
    file = tmp_path / "alice.json"
    async with running(tmp_path / "data") as system, client(dist, system, "bob") as bob:
        await until_connected(bob)
        async with client(dist, system, "alice", file=file, runtime=runtime) as alice:
            await until_connected(alice)
            await bob.call("send", "alice", "one")
            await alice.until(lambda _: texts(alice) == ["one"])
            await alice.call("send", "bob", "kept")  # what was taken before is durable by now
            alice.kill()
        await bob.call("send", "alice", "two")
        async with client(dist, system, "alice", file=file, runtime=runtime) as alice:
            await bob.call("send", "alice", "three")
            await alice.until(lambda _: texts(alice)[-1:] == ["three"])
            assert texts(alice) == ["two", "three"]
        assert texts(bob) == ["kept"]


async def test_a_program_that_was_killed_knows_what_it_had_sent(tmp_path: Path, dist: Path) -> None:
    """It needs no server for that, which forgets what was sent after some minutes."""
    file, again = tmp_path / "alice.json", {"clientMessageId": "the first"}
    async with processes.running(tmp_path / "server") as server:
        token = mint(server.secret_file, "alice")
        async with opened(dist, server.connect_url, token, file=file) as alice:
            sent = await alice.call("send", "bob", "hello", again)
            [message] = await alice.call("recent", "bob")
            alice.kill()
        await server.kill()
        async with opened(dist, server.connect_url, token, file=file) as alice:
            assert await alice.call("recent", "bob") == [message]
            assert await alice.call("send", "bob", "hello", again) == sent


async def test_it_survives_the_death_of_the_server(tmp_path: Path, dist: Path) -> None:
    """Sends wait while there is no server; each is accepted once, in order."""
    async with processes.running(tmp_path / "server") as server:
        tokens = [mint(server.secret_file, user) for user in ("alice", "bob")]
        async with (
            opened(dist, server.connect_url, tokens[0], file=tmp_path / "alice") as alice,
            opened(dist, server.connect_url, tokens[1], file=tmp_path / "bob") as bob,
        ):
            await until_connected(alice, bob)
            sends = []
            for round_ in range(3):
                sends += [alice.begin("send", "bob", f"{round_} {n}") for n in range(50)]
                await server.kill()
                sends += [alice.begin("send", "bob", f"{round_} {n}") for n in range(50, 100)]
                await alice.until_values("status", lambda values: values[-1]["state"] == "waiting")
                await server.start()
                async with asyncio.timeout(60):
                    await asyncio.gather(*sends)
            expected = [f"{round_} {n}" for round_ in range(3) for n in range(100)]
            await bob.until(lambda _: len(texts(bob)) >= len(expected))
            assert texts(bob) == expected
            await alice.until_values("sent", lambda values: len(values) >= len(expected))
            assert [each["text"] for each in alice.values("sent")] == expected
            assert len({each.result() for each in sends}) == len(expected)
