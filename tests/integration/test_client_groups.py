"""Groups from one client to the others, whose users live in other partitions than the group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from google.protobuf import json_format

from cecochat.client import (
    Client,
    Entry,
    GroupChange,
    GroupOptions,
    Member,
    Message,
    Reaction,
    Refused,
    SendRejected,
    Typing,
    open_history,
)
from cecochat.domain.cluster.partitions import partition_of
from cecochat.v1.events_pb2 import Membership
from cecochat.v1.messaging_pb2 import Send
from tests.integration.clients import WITHIN_S, device, edit, next_of
from tests.integration.systems import Running, running
from tests.integration.test_changes import forget_the_log
from tests.support.eventually import eventually

PARTITIONS = 8
US = "g:us"
ALICE, BOB, CAROL, DAN = "alice", "bob", "carol", "dan"
PEOPLE = (ALICE, BOB, CAROL, DAN)


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Running]:
    places = [partition_of(each, PARTITIONS) for each in (US, *PEOPLE)]
    assert len(set(places[:4])) == 4, "the group and three of them live apart"
    async with running(tmp_path / "data", partitions=PARTITIONS) as started:
        yield started


async def entries(client: Client, count: int) -> list[Entry]:
    """The next events that a chat consists of."""
    found: list[Entry] = []
    async with asyncio.timeout(WITHIN_S):
        while len(found) < count:
            event = await anext(client)
            if isinstance(event, Message | GroupChange):
                found.append(event)
    return found


def words(found: Sequence[Entry]) -> list[str]:
    """What was said, and who came and went."""
    return [
        each.text
        if isinstance(each, Message)
        else ", ".join(f"{user} comes" for user in each.added)
        or ", ".join(f"{user} goes" for user in each.removed)
        for each in found
    ]


async def test_members_are_told_of_all_in_one_order(up: Running) -> None:
    async with device(up, ALICE) as alice, device(up, BOB) as bob, device(up, CAROL) as carol:
        chat = await alice.groups.create("Us", members=[BOB], chat_id=US)
        (made,) = await entries(bob, 1)
        assert isinstance(made, GroupChange)
        assert made.is_first
        assert (made.user_id, made.added, made.options) == (ALICE, (ALICE, BOB), GroupOptions("Us"))
        assert made.appointed == (Member(ALICE, "owner"),)

        first = await bob.send(chat, "hello")
        added = await alice.groups.add(chat, CAROL)
        second = await carol.send(chat, "hello, too", reply_to_id=first)
        liked = await alice.react(chat, second, "👍")
        assert first < added < second < liked.id
        assert words(await entries(alice, 2)) == ["hello", "hello, too"]
        assert words(await entries(bob, 2)) == ["carol comes", "hello, too"]
        assert words(await entries(carol, 1)) == ["carol comes"]
        assert await next_of(carol, Reaction) == liked == await next_of(bob, Reaction)

        removed = await alice.groups.remove(chat, CAROL)
        last = await bob.send(chat, "only us")
        assert [each.id for each in await entries(carol, 1)] == [removed]
        assert [each.id for each in await entries(alice, 1)] == [last]
        with pytest.raises(SendRejected) as rejected:
            await carol.send(chat, "let me in")
        assert rejected.value.code == "not_found"
        await alice.groups.add(chat, CAROL)
        assert words(await entries(carol, 1)) == ["carol comes"], "nothing of what was between"


async def test_what_the_history_says_is_as_new_as_what_was_told(up: Running) -> None:
    """Who is told that they belong to a group may ask at once what it is."""
    async with device(up, ALICE, listen=False) as alice, device(up, BOB) as bob:
        for number in range(20):
            chat = await alice.groups.create(f"Group {number}", members=[BOB])
            assert (await alice.groups.get(chat)).name == f"Group {number}"
            (made,) = await entries(bob, 1)
            assert (await bob.history(made.chat_id)).entries == [made]
            assert (await bob.groups.get(made.chat_id)).role == "member"
            said = await alice.send(chat, "hello")
            assert (await alice.history(chat)).messages[-1].id == said
            await alice.groups.appoint(chat, BOB, "admin")
            await next_of(bob, GroupChange)
            page = await bob.groups.members(chat)
            assert page.members == [Member(ALICE, "owner"), Member(BOB, "admin")]
        assert [each.options and each.options.name for each in await alice.chats(1)] == ["Group 19"]


async def test_changes_come_to_what_each_may_do(up: Running) -> None:
    async with device(up, ALICE, listen=False) as alice, device(up, BOB) as bob:
        chat = await alice.groups.create("Us", members=[BOB], invited=[DAN])
        await entries(bob, 1)
        for change in (bob.groups.add(chat, CAROL), bob.groups.rename(chat, "Ours")):
            with pytest.raises(SendRejected) as rejected:
                await change
            assert rejected.value.code == "forbidden"
        async with device(up, DAN, listen=False) as dan:
            with pytest.raises(Refused) as refused:
                await dan.groups.get(chat)
            assert refused.value.code == "not_found"
            await dan.groups.join(chat)
            await alice.groups.configure(chat, is_channel=True, is_open=True)
            await alice.groups.rename(chat, "Our channel")
            with pytest.raises(SendRejected, match="write in this group"):
                await dan.send(chat, "hello")
            await dan.groups.leave(chat)
            left = await dan.groups.get(chat)
        assert left.options == GroupOptions("Our channel", is_channel=True, is_open=True)
        assert left.role is None
        async with device(up, CAROL, listen=False) as carol:
            await carol.groups.join(chat)
            said = await alice.send(chat, "welcome")
            carol.mark_read(chat, said)
        async with open_history(up.addresses.connect, up.token(CAROL)) as history:

            async def has_read() -> bool:
                return [(each.role, each.unread_count) for each in await history.chats()] == [
                    ("member", 0)
                ]

            await eventually(has_read)
        await alice.groups.appoint(chat, BOB, "owner")
        await alice.groups.leave(chat)
        found = [member async for member in alice.groups.every_member(chat)]
        assert found == [Member(BOB, "owner"), Member(CAROL, "member")]


@pytest.mark.parametrize("gapped", [False, True])
async def test_a_returning_device_gets_what_it_missed_of_a_group(
    up: Running, tmp_path: Path, gapped: bool
) -> None:
    """Over the stream, or from the history after a gap: nothing from before its user came, although
    the history shows it, and nothing from after its user left.
    """
    missed = {
        BOB: ["two", "carol comes", "three", "bob goes"],
        CAROL: ["carol comes", "three", "bob goes", "four"],
    }
    async with device(up, ALICE, listen=False) as alice:
        for user in missed:
            async with device(up, user, tmp_path / user) as client:
                await client.send(DAN, "here")
        chat = await alice.groups.create("Us", members=[BOB])
        await alice.send(chat, "one")
        async with device(up, BOB, tmp_path / BOB) as bob:
            assert words(await entries(bob, 2)) == ["alice comes, bob comes", "one"]
        await alice.send(chat, "two")
        await alice.groups.add(chat, CAROL)
        await alice.send(chat, "three")
        await alice.groups.remove(chat, BOB)
        await alice.send(chat, "four")
        for user, expected in missed.items():
            if gapped:
                forget_the_log(tmp_path / user)
            async with device(up, user, tmp_path / user) as client:
                assert words(await entries(client, len(expected))) == expected
                dan = await client.send(DAN, "all there")
                assert (await client.history(DAN)).messages[-1].id == dan
        async with device(up, CAROL, tmp_path / CAROL) as carol:
            await alice.send(chat, "five")
            assert words(await entries(carol, 1)) == ["five"], "nothing comes twice"

            async def shows_all() -> bool:
                texts = [message.text for message in (await carol.history(chat)).messages]
                return texts == ["one", "two", "three", "four", "five"]

            await eventually(shows_all)


async def test_members_are_told_who_types(up: Running) -> None:
    async with device(up, ALICE, listen=False) as alice, device(up, BOB) as bob:
        chat = await alice.groups.create("Us", members=[BOB])
        await entries(bob, 1)
        bob.signals.watch([chat])
        async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as group:
            hearing = group.create_task(anext(bob.signals))
            while not hearing.done():  # it is not known when the watch has arrived
                alice.signals.typing(chat, active=False)
                alice.signals.typing(chat)
                await asyncio.wait({hearing}, timeout=0.5)
        assert hearing.result() == Typing(chat, ALICE, True)


async def test_a_change_outlives_the_process_that_asked_for_it(up: Running, tmp_path: Path) -> None:
    state = tmp_path / "alice.json"
    async with device(up, ALICE, state, listen=False) as alice:
        await alice.groups.create("Us", chat_id=US)
    send = Send(client_message_id="one", chat_id=US, membership=Membership(added_ids=[BOB]))
    edit(state, outbox=[json_format.MessageToDict(send)])
    async with device(up, ALICE, state) as alice:
        change = await next_of(alice, GroupChange)
        assert (change.client_message_id, change.added) == ("one", (BOB,))
        assert await alice.groups.add(US, BOB, client_message_id="one") == change.id
        assert [each.id for each in (await alice.history(US)).entries][1:] == [change.id]
