"""Webhooks that tell of users who have unread messages and no session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from cecochat.adapters import build
from cecochat.domain.hooks.endpoints import adding
from cecochat.domain.hooks.told import UNREAD
from cecochat.domain.log.ids import UserId
from cecochat.domain.moderation.rules import FOR_GOOD_MS, Rules, changed, document
from cecochat.ports.configuration import MODERATION
from cecochat.ports.keys import Erased
from cecochat.runtime.clock import now_ms
from cecochat.v1.events_pb2 import ChatSettings, GroupOptions, Membership
from cecochat.v1.messaging_pb2 import Send
from tests.integration.shops import Shop, change, endpoint, shop
from tests.integration.streams import message, receipt
from tests.integration.systems import Running, running, settings, until_metric, write_document

CHAT, GROUP = "d:alice~bob", "g:hikers"
DELAY_S = 1.0
SETTLED_S = 4.0  # longer than a delay and a second look


@asynccontextmanager
async def noticing(
    folder: Path, keys: Mapping[str, Any] | None = None, **fields: Any
) -> AsyncIterator[tuple[Running, Shop]]:
    """A system that tells a shop of nothing but who is away with unread messages."""
    async with (
        running(folder, {"hooks.unread_delay_s": DELAY_S, **(keys or {})}, partitions=4) as system,
        shop() as told,
    ):
        await change(system, adding(endpoint(told.url, kinds=(UNREAD,), **fields)))
        yield system, told


async def say(system: Running, user: str, *sends: Send) -> list[int]:
    async with system.stream(user) as stream:
        await stream.send(*sends)
        return [each.ack.message_id for each in await stream.until_acks(len(sends))]


async def test_who_is_away_is_told_of_once_a_silence(tmp_path: Path) -> None:
    async with noticing(tmp_path) as (system, told):
        first, second = await say(
            system, "alice", message("1", CHAT, "one"), message("2", CHAT, "two")
        )
        await told.until(lambda: told.told)
        assert (told.kinds, told.ids) == ([UNREAD], [f"unread-{second}-bob"])
        assert told.told[0]["data"] == {
            **{"userId": "bob", "chatId": CHAT, "messageId": str(second), "senderId": "alice"},
            **{"unreadCount": 2, "totalUnreadCount": 2},
        }
        await say(system, "alice", message("3", CHAT, "three"))
        await asyncio.sleep(SETTLED_S)
        assert len(told.told) == 1, "the silence was told before"
        async with system.stream("bob") as bob:
            await bob.send(receipt("4", CHAT, read=first))
            await bob.until_acks(1)
        (last,) = await say(system, "alice", message("5", CHAT, "five"))
        await told.until(lambda: len(told.told) == 2)
    assert told.ids[1] == f"unread-{last}-bob"
    assert told.told[1]["data"]["unreadCount"] == 3


async def test_a_session_in_between_ends_a_silence(tmp_path: Path) -> None:
    """Also if it left no receipt."""
    async with noticing(tmp_path) as (system, told):
        await say(system, "alice", message("1", CHAT, "one"))
        await told.until(lambda: told.told)
        async with system.stream("bob"):
            pass
        await say(system, "alice", message("2", CHAT, "two"))
        await told.until(lambda: len(told.told) == 2)


async def test_who_is_there_or_has_read_is_not_told_of(tmp_path: Path) -> None:
    async with noticing(tmp_path) as (system, told):
        async with system.stream("bob"), system.stream("carol") as carol:
            await say(system, "alice", message("1", "d:alice~carol", "read at once"))
            (id_,) = await say(system, "alice", message("2", "d:alice~carol", "as well"))
            await say(system, "alice", message("3", CHAT, "not read, but he is there"))
            await carol.send(receipt("1", "d:alice~carol", read=id_))
            await carol.until_acks(1)
            await asyncio.sleep(SETTLED_S)
            assert told.told == []
        await told.until(lambda: told.told)  # he has gone, and has not read it
    assert [body["data"]["userId"] for body in told.told] == ["bob"]


async def test_who_comes_back_soon_is_not_woken(tmp_path: Path) -> None:
    delay_s = 4.0  # he is back in time on a busy machine, too
    async with noticing(tmp_path, {"hooks.unread_delay_s": delay_s}) as (system, told):
        async with system.stream("bob"):
            await say(system, "alice", message("1", CHAT, "one"))
            await asyncio.sleep(delay_s)
        await asyncio.sleep(0.5)
        async with system.stream("bob"):
            await asyncio.sleep(delay_s + SETTLED_S)
            assert told.told == []


async def test_a_muted_chat_wakes_nobody_and_is_not_counted(tmp_path: Path) -> None:
    async with noticing(tmp_path) as (system, told):
        muted = ChatSettings(muted_until_ms=now_ms() + 3_600_000)
        await say(system, "bob", Send(client_message_id="1", chat_id=CHAT, settings=muted))
        await say(system, "alice", message("1", CHAT, "muted"))
        await say(system, "carol", message("1", "d:bob~carol", "heard"))
        await told.until(lambda: told.told)
        await asyncio.sleep(SETTLED_S)
    (body,) = told.told
    assert (body["data"]["chatId"], body["data"]["totalUnreadCount"]) == ("d:bob~carol", 1)


async def test_members_of_a_group_are_told_of_but_who_wrote(tmp_path: Path) -> None:
    async with noticing(tmp_path, chats=("g:*",)) as (system, told):
        members = [f"user-{number}" for number in range(8)]
        begins = Membership(options=GroupOptions(name="hikers"), added_ids=[*members, "bob"])
        leaves = Membership(removed_ids=["bob"])
        await say(
            system,
            "alice",
            Send(client_message_id="1", chat_id=GROUP, membership=begins),
            Send(client_message_id="2", chat_id=GROUP, membership=leaves),
            message("3", GROUP, "to all"),
            message("4", CHAT, "a chat that is not chosen"),
        )
        await told.until(lambda: len(told.told) == len(members))
        await asyncio.sleep(SETTLED_S)
    assert sorted(body["data"]["userId"] for body in told.told) == members
    assert {body["data"]["unreadCount"] for body in told.told} == {1}


async def test_nobody_wakes_who_is_banned_or_was_erased(tmp_path: Path) -> None:
    async with noticing(tmp_path) as (system, told):
        banned = changed(Rules(), "banned", "bob", FOR_GOOD_MS, now_ms())
        await write_document(system.configuration, MODERATION, document(banned))
        async with build.keys(settings(tmp_path)) as keys:
            await keys.destroy(Erased(UserId("carol"), now_ms(), "test"))
        await say(
            system,
            "alice",
            message("1", CHAT, "he is banned"),
            message("2", "d:alice~carol", "she was erased"),
            message("3", "d:alice~dave", "he is away"),
        )
        await told.until(lambda: told.told)
        await asyncio.sleep(SETTLED_S)
    assert [body["data"]["userId"] for body in told.told] == ["dave"]


async def test_a_restart_tells_nothing_again(tmp_path: Path) -> None:
    async with shop() as told:
        made = endpoint(told.url, kinds=(UNREAD,))
        quick = {"hooks.unread_delay_s": DELAY_S}
        async with running(tmp_path, quick, partitions=4) as system:
            await change(system, adding(made))
            await say(system, "alice", message("1", CHAT, "one"))
            await told.until(lambda: told.told)
            await until_metric(system, "hooks", "cecochat_hooks_delivered_total", 1)
        async with running(tmp_path, quick, partitions=4) as system:
            await say(system, "alice", message("2", CHAT, "two"))
            (last,) = await say(system, "alice", message("3", "d:alice~carol", "three"))
            await told.until(lambda: len(told.told) == 2)
            await asyncio.sleep(SETTLED_S)
    assert told.ids[1:] == [f"unread-{last}-carol"]


async def test_a_request_wakes_nobody_until_it_is_accepted(tmp_path: Path) -> None:
    async with noticing(tmp_path, {"strangers.messages_max": 5}) as (system, told):
        await say(system, "alice", message("1", CHAT, "do you know me?"))
        await say(system, "bob", message("1", "d:bob~carol", "hello"))
        await say(system, "carol", message("1", "d:bob~carol", "hello, bob"))
        await told.until(lambda: chats_of_bob(told))
        assert chats_of_bob(told) == [("d:bob~carol", 1)]
        accepted = ChatSettings(accepted=True)
        await say(system, "bob", Send(client_message_id="2", chat_id=CHAT, settings=accepted))
        await say(system, "alice", message("2", CHAT, "do you know me now?"))
        await told.until(lambda: len(chats_of_bob(told)) == 2)
    assert chats_of_bob(told)[1] == (CHAT, 3)


def chats_of_bob(told: Shop) -> list[tuple[str, int]]:
    """The chat of each webhook about bob, and how much he had not read then in all."""
    data = [body["data"] for body in told.told]
    return [(each["chatId"], each["totalUnreadCount"]) for each in data if each["userId"] == "bob"]
