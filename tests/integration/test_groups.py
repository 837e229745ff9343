"""Groups across servers: who belongs gets all that happens there, in one order, wherever they live,
and nobody else gets anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.log.ids import UserId, dialog
from cecochat.ports.configuration import CONFIGURATION
from cecochat.v1.events_pb2 import ChatSettings, GroupOptions, Membership
from cecochat.v1.history_pb2 import GetChatsRequest, GetMessagesRequest
from cecochat.v1.messaging_pb2 import ReadToken, Send
from tests.integration.cluster import PARTITIONS, Cluster, cluster, user_on
from tests.integration.streams import Stream, delivered_texts, message, receipt
from tests.integration.systems import QUICK, Refused, running, write_document
from tests.integration.test_handoff import until_owned

US = "g:us"
HOME = partition_of(UserId(US), PARTITIONS)
ALICE, BOB, CAROL, DAN = (user_on((HOME + each) % PARTITIONS) for each in range(PARTITIONS))
"""Alice lives in the group's home, and each other in a partition of their own."""
ALL = [ALICE, BOB, CAROL, DAN]


@pytest.fixture
async def servers(tmp_path: Path, kafka: str) -> AsyncIterator[Cluster]:
    """Two servers with two partitions each."""
    async with cluster(tmp_path, kafka) as servers:
        await servers.assign("one", "two")
        await servers.start("one")
        await servers.start("two")
        yield servers


def owner_of(user: str) -> str:
    return ("one", "two")[partition_of(UserId(user), PARTITIONS) % 2]


@asynccontextmanager
async def devices(servers: Cluster, *users: str) -> AsyncIterator[list[Stream]]:
    """A stream for each user, at the server that owns their partition."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(servers.stream(owner_of(user), user)) for user in users
        ]


def change(id_: str, **what: object) -> Send:
    return Send(client_message_id=id_, chat_id=US, membership=Membership(**what))  # type: ignore[arg-type]


def founded(*others: str, **options: bool) -> Send:
    return change("founded", options=GroupOptions(name="Us", **options), added_ids=others)


async def done(stream: Stream, *sends: Send) -> list[int]:
    """Send, wait for the answers, and return the ids."""
    before = len([item for item in stream.items if item.HasField("ack")])
    await stream.send(*sends)
    acks = await stream.until_acks(before + len(sends))
    return [item.ack.message_id for item in acks[before:]]


def ids(stream: Stream) -> list[int]:
    """What a stream has brought, its own sends included, in the order in which it came."""
    return [
        item.delivered.event.id or item.ack.message_id
        for item in stream.items
        if item.HasField("delivered") or item.HasField("ack")
    ]


async def until_ids(streams: Sequence[Stream], count: int) -> None:
    for stream in streams:
        while len(ids(stream)) < count:
            await stream.next()


async def test_all_members_get_all_in_one_order(servers: Cluster) -> None:
    async with devices(servers, *ALL) as streams:
        await done(streams[0], founded(*ALL[1:]))
        await until_ids(streams, 1)
        async with asyncio.TaskGroup() as group:
            for stream, user in zip(streams, ALL, strict=True):
                sends = [message(f"{user} {number}", US) for number in range(20)]
                group.create_task(stream.send(*sends))
        await until_ids(streams, 81)
    for stream in streams:
        assert ids(stream) == sorted(set(ids(streams[0])))
        assert len(ids(stream)) == 81


@pytest.mark.parametrize("members", [100, 101])
async def test_receipts_are_told_to_all_but_in_large_groups(servers: Cluster, members: int) -> None:
    others = [f"other-{number}" for number in range(members - 3)]
    async with devices(servers, ALICE, BOB, CAROL) as (alice, bob, carol):
        await done(alice, founded(BOB, CAROL, *others[:90]), change("more", added_ids=others[90:]))
        (said,) = await done(alice, message("hello", US))
        await until_ids([bob, carol], 3)
        async with devices(servers, CAROL) as (other,):
            for stream in (bob, carol):
                await done(stream, receipt("read", US, read=said))
            (last,) = await done(alice, message("last", US))
            told = [CAROL] if members > 100 else [BOB, CAROL]
            for stream in (alice, other):
                while last not in ids(stream):
                    await stream.next()
            assert receipts(other) == told
            assert receipts(alice) == (told if members <= 100 else [])


def receipts(stream: Stream) -> list[str]:
    """Of whom a stream has brought receipts."""
    events = [item.delivered.event for item in stream.items if item.HasField("delivered")]
    return [each.user_id for each in events if each.HasField("receipt")]


async def test_who_lives_elsewhere_can_found_a_group(servers: Cluster) -> None:
    async with devices(servers, BOB, CAROL, ALICE) as (bob, carol, alice):
        (id_,) = await done(bob, founded(CAROL))
        assert (await carol.until("delivered")).delivered.event.id == id_
        (said,) = await done(carol, message("hello", US))
        assert (await bob.until("delivered")).delivered.event.id == said
        await done(alice, message("to myself", f"d:{min(ALICE, BOB)}~{max(ALICE, BOB)}"))
        assert ids(alice) == [alice.items[-1].ack.message_id], "nothing of a group that is not hers"


async def test_an_ack_says_where_the_home_has_it(servers: Cluster) -> None:
    async with devices(servers, ALICE, BOB) as (alice, bob):
        await done(alice, founded(BOB))
        assert not alice.items[-1].ack.home_offset, "it is in her own partition"
        await done(bob, message("hello", US))
        ack = bob.items[-1].ack
        assert ack.home_offset > 0
        assert ack.home_clock_ms > 0


async def test_a_repeat_is_answered_like_the_first(servers: Cluster) -> None:
    async with devices(servers, ALICE, BOB) as (alice, bob):
        await done(alice, founded(BOB))
        first = await done(bob, message("hello", US))
        assert await done(bob, message("hello", US)) == first
        async with servers.stream(owner_of(BOB), BOB, bob.position) as again:
            assert await done(again, message("hello", US)) == first
            await again.send(message("hello", US, "other words"))
            assert (await again.until("refused")).refused.error.code == 21
        (last,) = await done(alice, message("last", US))
        await until_ids([alice], 3)
        assert ids(alice)[1:] == [*first, last], "it came once"


async def test_only_members_get_anything_and_know_of_it(servers: Cluster) -> None:
    async with devices(servers, ALICE, BOB, CAROL, DAN) as (alice, bob, carol, dan):
        await done(alice, founded(BOB, CAROL))
        await dan.send(message("let me in", US))
        refused = (await dan.until("refused")).refused.error
        async with devices(servers, DAN) as (dan_again,):
            await dan_again.send(message("let me in", "g:there.is.none"))
            assert (await dan_again.until("refused")).refused.error.code == refused.code == 19
        await bob.send(change("not yours", removed_ids=[CAROL]))
        assert (await bob.until("refused")).refused.error.code == 4
        await done(alice, message("before", US), change("go", removed_ids=[CAROL]))
        await done(alice, message("after", US))
        assert await bob.until_texts(2) == ["before", "after"]
        while (await carol.until("delivered")).delivered.event.client_message_id != "go":
            pass
        await carol.send(message("wait", US))
        assert (await carol.until("refused")).refused.error.code == 19
        assert delivered_texts(carol.items) == ["before"]


async def test_what_comes_while_somebody_is_away_is_brought_later(servers: Cluster) -> None:
    async with devices(servers, ALICE, BOB) as (alice, bob):
        await done(alice, founded(BOB))
        await until_ids([bob], 1)
    async with devices(servers, ALICE) as (alice,):
        await done(alice, message("one", US), change("go", removed_ids=[BOB]), message("two", US))
        await done(alice, change("come", added_ids=[BOB]), message("three", US))
    async with servers.stream(owner_of(BOB), BOB, bob.position) as bob:
        assert await bob.until_texts(2) == ["one", "three"]


@pytest.mark.parametrize(("body", "code"), [("", 1), ("x" * 20_000, 5)])
async def test_a_member_far_away_is_told_what_is_wrong(
    servers: Cluster, body: str, code: int
) -> None:
    async with devices(servers, ALICE, BOB) as (alice, bob):
        await done(alice, founded(BOB))
        send = Send(client_message_id="1", chat_id=US)
        send.message.text = body
        await bob.send(send)
        assert (await bob.until("refused")).refused.error.code == code


async def test_the_number_of_members_is_limited_by_the_configuration(servers: Cluster) -> None:
    for limit in (0, 2):
        keys = {**QUICK, "groups.members_max": limit}
        await write_document(servers.parts.configuration, CONFIGURATION, keys)
        async with devices(servers, BOB) as (bob,):
            await bob.send(founded(CAROL, DAN))
            error = (await bob.until("refused")).refused.error
            assert (f"may have {limit} members" if limit else "nobody may create") in error.message


@pytest.mark.parametrize("chat", [US, dialog(UserId(ALICE), UserId(BOB))])
async def test_settings_of_a_chat_are_told_to_nobody_else(tmp_path: Path, chat: str) -> None:
    async with running(tmp_path, partitions=PARTITIONS) as up:
        async with up.stream(ALICE) as alice, up.stream(BOB) as bob, up.stream(BOB) as other:
            await done(alice, founded(BOB), message("hello", chat))
            wanted = ChatSettings(muted_until_ms=1, pinned=True)
            for each in (ChatSettings(archived=True), wanted):
                await done(bob, Send(client_message_id=f"{each}", chat_id=chat, settings=each))
            told = [await other.until("delivered") for _ in range(4)]
            assert [each.delivered.event.settings for each in told][-1] == wanted
            (last,) = await done(alice, message("last", chat))
            while last not in ids(other):
                await other.next()
            assert not [each for each in alice.items if each.delivered.event.HasField("settings")]
            ack, log_id = bob.items[-1].ack, bob.welcome.position.log_id
        own = partition_of(UserId(BOB), PARTITIONS)
        token = ReadToken(log_id=log_id, offsets={own: ack.offset}, clocks={own: ack.clock_ms})
        for user, expected in ((BOB, wanted), (ALICE, ChatSettings())):
            request = GetChatsRequest(token=token)
            chats = (await up.patiently(user, request)).chats
            (found,) = (each for each in chats if each.chat_id == chat)
            assert found.settings == expected
            assert found.settings_id == (ack.message_id if user == BOB else 0)
            assert not found.marks


async def test_a_user_makes_so_many_groups_in_a_home_and_no_more(servers: Cluster) -> None:
    """Also after they have left some, and when the home has another owner."""
    keys = {**QUICK, "groups.made_max": 2}
    await write_document(servers.parts.configuration, CONFIGURATION, keys)
    first, second, third = map(made, [f"g:{n}" for n in range(99) if is_at_home(f"g:{n}")][:3])
    gone = Membership(removed_ids=[BOB])
    leaves = Send(client_message_id="gone", chat_id=first.chat_id, membership=gone)
    async with devices(servers, BOB) as (bob,):
        await done(bob, first, second, leaves)
        await bob.send(third)
        assert "made 2 groups" in (await bob.until("refused")).refused.error.message
    await servers.put_assignment({str(p): "one" for p in range(PARTITIONS)})
    await until_owned(servers, "one", *range(PARTITIONS))
    async with servers.stream("one", BOB) as bob, servers.stream("one", CAROL) as carol:
        await bob.send(third)
        assert "made 2 groups" in (await bob.until("refused")).refused.error.message
        await done(carol, third)


def made(chat_id: str) -> Send:
    membership = Membership(options=GroupOptions(name="Us"))
    return Send(client_message_id=chat_id, chat_id=chat_id, membership=membership)


def is_at_home(chat_id: str) -> bool:
    return partition_of(UserId(chat_id), PARTITIONS) == HOME


@pytest.mark.parametrize("name", ["a\0b", "two\nlines", "\u202eevil"])
async def test_names_of_groups_are_shown_as_they_are(servers: Cluster, name: str) -> None:
    async with devices(servers, BOB) as (bob,):
        await bob.send(change("1", options=GroupOptions(name=name)))
        assert (await bob.until("refused")).refused.error.code == 1


async def test_a_home_that_moves_loses_nothing(servers: Cluster) -> None:
    async with devices(servers, *ALL) as streams:
        everybody = dict(zip(ALL, streams, strict=True))
        await done(everybody[ALICE], founded(*ALL[1:]))
        await until_ids(streams, 1)
        away = next(user for user in ALL if owner_of(user) != owner_of(ALICE))
        for number in range(3):
            sends = [message(f"{number} {each}", US) for each in range(10)]
            talking = asyncio.create_task(done(everybody[away], *sends))
            owners = {str(p): ("one", "two")[p % 2] for p in range(PARTITIONS)}
            to = owner_of(away) if number % 2 == 0 else owner_of(ALICE)
            await servers.put_assignment(owners | {str(HOME): to})
            await until_owned(servers, to, HOME)
            assert len(await talking) == 10
        same = [user for user in ALL if user != ALICE]
        await until_ids([everybody[user] for user in same], 31)
        for user in same:
            assert ids(everybody[user]) == sorted(set(ids(everybody[away])))


async def test_the_history_has_it_as_soon_as_it_is_acknowledged(tmp_path: Path) -> None:
    async with running(tmp_path, partitions=PARTITIONS) as up:
        async with up.stream(ALICE) as alice, up.stream(BOB) as bob:
            await done(alice, founded(BOB, CAROL))
            (said,) = await done(bob, message("hello", US))
            ack, log_id = bob.items[-1].ack, bob.welcome.position.log_id
        token = ReadToken(
            log_id=log_id,
            offsets={HOME: ack.home_offset},
            clocks={HOME: ack.home_clock_ms},
        )
        page = await up.patiently(CAROL, GetMessagesRequest(chat_id=US, token=token))
        assert [each.id for each in page.messages][1:] == [said]
        for user, unread in ((CAROL, 1), (BOB, 0), (ALICE, 1)):
            (chat,) = (await up.patiently(user, GetChatsRequest(token=token))).chats
            assert (chat.chat_id, chat.last_message.id) == (US, said)
            assert chat.unread_count == unread
        async with up.stream(CAROL) as carol:
            await done(carol, receipt("read", US, read=said))
            read = carol.items[-1].ack
        token.offsets[HOME], token.clocks[HOME] = read.home_offset, read.home_clock_ms
        for user, count in ((BOB, 1), (CAROL, 0)):
            request = GetMessagesRequest(chat_id=US, token=token, count_read_of=said)
            assert (await up.patiently(user, request)).read_count == count
        with pytest.raises(Refused) as refused:
            await up.messages(DAN, GetMessagesRequest(chat_id=US))
        assert refused.value.code == "NOT_FOUND"
