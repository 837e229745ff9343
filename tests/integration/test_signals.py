"""Typing and presence between the servers of a cluster, as raw streams see them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cecochat.domain.log.ids import UserId, dialog
from cecochat.domain.signals import presence as presences
from cecochat.domain.signals.presence import SETTLE_S
from cecochat.domain.signals.typing import EVERY_S
from cecochat.domain.signals.watching import CHATS_MAX
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import GroupOptions, Membership
from cecochat.v1.messaging_pb2 import ClientFrame, Hello, Send, Signal, TypingIn, Watch
from tests.integration import streams
from tests.integration.cluster import Cluster, cluster, user_on
from tests.integration.streams import Stream, message

ALICE, BOB, CAROL = (user_on(partition, "seen") for partition in (0, 1, 2))
CHAT = dialog(UserId(ALICE), UserId(BOB))
TEAM = "g:team"
AT = {ALICE: "one", BOB: "two", CAROL: "one"}
SOON_S = 2.0  # as promised; tests/faults measures it
BUSY_S = 60.0  # the same on a busy machine
"""How soon a change is seen everywhere."""


@pytest.fixture
async def servers(tmp_path: Path, kafka: str) -> AsyncIterator[Cluster]:
    """Two servers that own every other partition: Alice is on the one, and Bob on the other."""
    async with cluster(tmp_path, kafka) as started:
        await started.assign("one", "two")
        await started.start("one")
        await started.start("two")
        yield started


@asynccontextmanager
async def online(
    servers: Cluster, user: str, *watched: str, invisible: bool = False, at: str = ""
) -> AsyncIterator[Stream]:
    """A stream of a user that has caught up and watches these chats."""
    address = servers.servers[at or AT[user]].address
    async with streams.opened(address, servers.token(user)) as stream:
        await stream.write(ClientFrame(hello=Hello(device="test"), invisible=invisible))
        await stream.until("caught_up")
        if watched:
            await watch(stream, *watched)
        yield stream


async def watch(stream: Stream, *chat_ids: str) -> None:
    await stream.write(ClientFrame(watch=Watch(chat_ids=chat_ids)))


async def types(stream: Stream, chat_id: str, active: bool = True) -> None:
    await stream.write(ClientFrame(typing=TypingIn(chat_id=chat_id, active=active)))


async def keeps_typing(stream: Stream, chat_id: str) -> None:
    """As a client does: whoever begins to watch is told sooner or later."""
    while True:
        await types(stream, chat_id)
        await asyncio.sleep(EVERY_S)


async def signal(stream: Stream) -> Signal:
    return (await stream.until("signal")).signal


async def presence(stream: Stream, online: bool) -> Signal:
    """The next signal that says so."""
    while True:
        said = await signal(stream)
        if said.HasField("presence") and said.presence.online == online:
            return said


async def only_messages_since(stream: Stream, count: int) -> None:
    """Nothing but what comes with one message has come after `count` items."""
    await stream.until("delivered")
    assert [item for item in stream.items[count:] if item.HasField("signal")] == []


async def test_the_other_user_of_a_dialog_sees_who_types(servers: Cluster) -> None:
    async with online(servers, ALICE, CHAT) as alice, online(servers, BOB) as bob:
        await presence(alice, True)
        begun_s = time.monotonic()
        await types(bob, CHAT)
        said = await signal(alice)
        assert (said.chat_id, said.user_id, said.typing.active) == (CHAT, BOB, True)
        assert time.monotonic() - begun_s < BUSY_S
        await types(bob, CHAT, active=False)
        assert not (await signal(alice)).typing.active


async def test_typing_is_told_once_in_three_seconds(servers: Cluster) -> None:
    async with online(servers, ALICE, CHAT) as alice, online(servers, BOB) as bob:
        await presence(alice, True)
        for _ in range(50):
            await types(bob, CHAT)
        assert (await signal(alice)).typing.active
        count = len(alice.items)
        await bob.send(message("done", CHAT))
        await only_messages_since(alice, count)


async def test_only_sessions_that_watch_a_chat_get_its_signals(servers: Cluster) -> None:
    async with (
        online(servers, ALICE, CHAT) as phone,
        online(servers, ALICE) as tablet,
        online(servers, BOB, CHAT) as bob,
        online(servers, CAROL, dialog(UserId(ALICE), UserId(CAROL))) as carol,
    ):
        await types(bob, CHAT)
        while not (await signal(phone)).HasField("typing"):
            pass
        await bob.send(message("done", CHAT))
        await bob.send(message("as well", dialog(UserId(BOB), UserId(CAROL))))
        await bob.until_acks(2)
        for stream in (tablet, carol):
            await stream.until("delivered")
        assert not any(item.HasField("signal") for item in tablet.items)
        assert not any(item.signal.HasField("typing") for item in (*bob.items, *carol.items))


async def test_presence_follows_the_sessions_of_a_user(servers: Cluster) -> None:
    async with online(servers, ALICE, CHAT) as alice:
        assert (await presence(alice, False)).presence.last_seen_ms == 0
        async with online(servers, BOB):
            begun_s = time.monotonic()
            assert (await presence(alice, True)).user_id == BOB
            assert time.monotonic() - begun_s < BUSY_S
        left_s, left_ms = time.monotonic(), time.time() * 1_000
        said = (await presence(alice, False)).presence
        assert time.monotonic() - left_s < BUSY_S
        assert abs(said.last_seen_ms - left_ms) < BUSY_S * 1_000


async def test_a_reconnect_is_not_seen(servers: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    grace_s = 4.0  # he is back in time on a busy machine, too
    monkeypatch.setattr(presences, "GRACE_S", grace_s)
    async with online(servers, ALICE, CHAT) as alice:
        async with online(servers, BOB):
            await presence(alice, True)
        count = len(alice.items)
        await asyncio.sleep(0.5)  # what is told at all is told sooner
        async with online(servers, BOB) as bob:
            await asyncio.sleep(grace_s + 1)  # by then, all would have seen that Bob was away
            await bob.send(message("back", CHAT))
            await only_messages_since(alice, count)


async def test_whoever_hides_is_seen_by_nobody(servers: Cluster) -> None:
    async with (
        online(servers, ALICE, CHAT) as alice,
        online(servers, BOB, invisible=True) as bob,
    ):
        assert (await presence(alice, False)).presence.last_seen_ms == 0
        await types(bob, CHAT)  # it would say that Bob is there
        await bob.write(ClientFrame(invisible=False))
        await presence(alice, True)
        await bob.write(ClientFrame(invisible=True))
        assert (await presence(alice, False)).presence.last_seen_ms == 0
        assert not any(item.signal.HasField("typing") for item in alice.items)


async def test_what_is_not_watched_any_more_is_not_told(servers: Cluster) -> None:
    async with online(servers, ALICE, CHAT) as alice:
        await presence(alice, False)
        await watch(alice)
        count = len(alice.items)
        async with online(servers, BOB) as bob:
            await types(bob, CHAT)
            await asyncio.sleep(SOON_S)  # by then, it would have been told
            await bob.send(message("here", CHAT))
            await only_messages_since(alice, count)


async def test_a_handoff_is_not_seen_and_a_death_is(servers: Cluster) -> None:
    async with online(servers, ALICE, CHAT) as alice:
        async with online(servers, BOB) as bob:
            await presence(alice, True)
            await servers.assign("one", "one")  # Bob is sent to the other server
            assert (await bob.ended()).code == "MOVED"
        async with online(servers, BOB, at="one") as bob:
            count = len(alice.items)
            await asyncio.sleep(SETTLE_S + SOON_S)  # the new owner has settled
            await bob.send(message("moved", CHAT))
            await only_messages_since(alice, count)
        assert (await presence(alice, False)).presence.last_seen_ms > 0


async def test_whose_server_died_is_offline_once_another_has_settled(servers: Cluster) -> None:
    async with online(servers, ALICE, CHAT) as alice:
        async with online(servers, BOB):
            await presence(alice, True)
            await servers.assign("one", "one")
        begun_s = time.monotonic()  # Bob does not come back
        said = (await presence(alice, False)).presence
        assert time.monotonic() - begun_s < SETTLE_S + BUSY_S
        assert said.last_seen_ms > 0


async def test_members_of_a_group_see_who_types_wherever_they_are(servers: Cluster) -> None:
    async with (
        online(servers, ALICE) as alice,
        online(servers, BOB) as bob,
        online(servers, CAROL) as carol,
    ):
        founded = Membership(options=GroupOptions(name="Team"), added_ids=[BOB, CAROL])
        await alice.send(Send(client_message_id="1", chat_id=TEAM, membership=founded))
        for stream in (alice, bob, carol):
            await stream.until("ack" if stream is alice else "delivered")
            await watch(stream, TEAM)
        for stream, user in ((alice, ALICE), (bob, BOB)):
            others = [each for each in (alice, bob, carol) if each is not stream]
            typing = asyncio.create_task(keeps_typing(stream, TEAM))
            for other in others:
                said = await signal(other)
                assert (said.chat_id, said.user_id, said.typing.active) == (TEAM, user, True)
            typing.cancel()
            await types(stream, TEAM, active=False)
            for other in others:
                while (said := await signal(other)).typing.active:
                    assert said.user_id == user
        gone = Membership(removed_ids=[CAROL])
        await alice.send(Send(client_message_id="2", chat_id=TEAM, membership=gone))
        await carol.until("delivered")
        await types(carol, TEAM)
        assert (await carol.until("signal_refused")).signal_refused.error.code == 19
        await types(alice, TEAM)
        assert (await signal(bob)).user_id == ALICE
        count = len(carol.items)
        await bob.send(message("to carol", dialog(UserId(BOB), UserId(CAROL))))
        await only_messages_since(carol, count)


@pytest.mark.parametrize(
    ("chat_ids", "code"),
    [
        (["no chat"], errors_pb2.ERROR_CODE_INVALID_ARGUMENT),
        (["d:xavier~yves"], errors_pb2.ERROR_CODE_FORBIDDEN),
        (["g:team"], errors_pb2.ERROR_CODE_NOT_FOUND),
        ([CHAT, f"d:{ALICE}~{ALICE}"], errors_pb2.ERROR_CODE_INVALID_ARGUMENT),
    ],
)
async def test_what_is_refused_changes_nothing(
    servers: Cluster, chat_ids: list[str], code: errors_pb2.ErrorCode.ValueType
) -> None:
    async with online(servers, ALICE, CHAT) as alice:
        await watch(alice, *chat_ids)
        assert (await alice.until("signal_refused")).signal_refused.error.code == code
        await types(alice, chat_ids[-1])
        assert (await alice.until("signal_refused")).signal_refused.error.code == code
        async with online(servers, BOB):
            await presence(alice, True)
        await alice.send(message("goes on", CHAT))
        await alice.until("ack")


async def test_a_watch_is_bounded(servers: Cluster) -> None:
    peers = [dialog(UserId(ALICE), UserId(f"peer{n}")) for n in range(CHATS_MAX + 1)]
    async with online(servers, ALICE) as alice:
        await watch(alice, *peers)
        refused = (await alice.until("signal_refused")).signal_refused.error
        assert refused.code == errors_pb2.ERROR_CODE_TOO_LARGE


async def test_scanning_strangers_is_slowed_down(servers: Cluster) -> None:
    async with online(servers, ALICE) as alice:
        for page in range(6):
            peers = [dialog(UserId(ALICE), UserId(f"peer{page}x{n}")) for n in range(CHATS_MAX)]
            await watch(alice, *peers)
        refused = (await alice.until("signal_refused")).signal_refused.error
        assert refused.code == errors_pb2.ERROR_CODE_RATE_LIMITED
        assert refused.retry_after_ms > 1_000
