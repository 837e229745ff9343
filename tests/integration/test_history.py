"""Queries over gRPC: pages, tokens, who may read, receipts and unread counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from cecochat.v1.history_pb2 import GetChatsRequest, GetMessagesRequest
from cecochat.v1.messaging_pb2 import Position, ReadToken
from tests.integration.streams import Stream, message, receipt
from tests.integration.systems import Refused, Running, running

CHAT = "d:alice~bob"


def token_of(stream: Stream) -> ReadToken:
    """An answer that holds all that this stream was told."""
    position = stream.position
    assert position is not None
    return token_at(position, position.offset, position.clock_ms)


def token_at(position: Position, offset: int, clock_ms: int) -> ReadToken:
    """Of the partition of that position, at another place."""
    partition = position.partition
    return ReadToken(
        log_id=position.log_id, offsets={partition: offset}, clocks={partition: clock_ms}
    )


async def ids_of(system: Running, request: GetMessagesRequest) -> tuple[list[int], bool]:
    page = await system.messages("bob", request)
    return [event.id for event in page.messages], page.has_more


async def test_pages_in_both_directions(tmp_path: Path) -> None:
    async with running(tmp_path) as system, system.stream("alice") as alice:
        await alice.send(*(message(f"m{n}", CHAT) for n in range(25)))
        ids = [item.ack.message_id for item in await alice.until_acks(25)]
        whole = GetMessagesRequest(chat_id=CHAT, token=token_of(alice))
        assert [event.id for event in (await system.patiently("bob", whole)).messages] == ids

        def page(limit: int, **bound: int) -> GetMessagesRequest:
            return GetMessagesRequest(chat_id=CHAT, limit=limit, **bound)  # type: ignore[arg-type]

        assert await ids_of(system, page(10)) == (ids[15:], True)
        assert await ids_of(system, page(25)) == (ids, False)
        assert await ids_of(system, page(10, before=ids[15])) == (ids[5:15], True)
        assert await ids_of(system, page(5, before=ids[5])) == (ids[:5], False)
        assert await ids_of(system, page(10, before=ids[0])) == ([], False)
        assert await ids_of(system, page(10, after=0)) == (ids[:10], True)
        assert await ids_of(system, page(15, after=ids[9])) == (ids[10:], False)
        assert await ids_of(system, page(14, after=ids[9])) == (ids[10:24], True)
        assert await ids_of(system, page(10, after=ids[24])) == ([], False)
        assert await ids_of(system, page(0, after=ids[4] - 1)) == (ids[4:], False)


@pytest.mark.parametrize(
    ("chat", "code"),
    [
        ("d:bob~carol", "FORBIDDEN"),
        ("d:bob~alice", "INVALID_ARGUMENT"),
        ("", "INVALID_ARGUMENT"),
        ("d:alice~alice", "INVALID_ARGUMENT"),
    ],
)
async def test_only_participants_read(tmp_path: Path, chat: str, code: str) -> None:
    async with running(tmp_path) as system:
        with pytest.raises(Refused) as refused:
            await system.messages("alice", GetMessagesRequest(chat_id=chat))
        assert refused.value.code == code
        async with system.stream("alice") as alice:  # and the same holds for sends
            await alice.send(message("m", chat))
            assert (await alice.until("refused")).refused.error.code == refused.value.error.code


@pytest.mark.parametrize(
    "request_",
    [
        GetMessagesRequest(chat_id=CHAT, limit=-1),
        GetMessagesRequest(chat_id=CHAT, limit=201),
        GetMessagesRequest(chat_id=CHAT, before=-1),
        GetMessagesRequest(chat_id=CHAT, after=-1),
        GetMessagesRequest(chat_id=CHAT, token=ReadToken(log_id="another", offsets={0: 1})),
        GetChatsRequest(limit=201),
        GetChatsRequest(before=-1),
        GetChatsRequest(token=ReadToken()),
    ],
)
async def test_a_request_that_is_wrong_is_told_so(
    tmp_path: Path, request_: GetMessagesRequest | GetChatsRequest
) -> None:
    async with running(tmp_path) as system:
        with pytest.raises(Refused) as refused:
            await system.patiently("alice", request_)
        assert refused.value.code == "INVALID_ARGUMENT"
        assert not refused.value.error.retriable
        assert refused.value.error.message


async def test_a_token_ahead_is_behind_and_then_answered(tmp_path: Path) -> None:
    async with running(tmp_path) as system, system.stream("alice") as alice:
        assert alice.position is not None
        ahead = token_at(alice.position, alice.position.offset + 1, alice.position.clock_ms)
        with pytest.raises(Refused) as refused:
            await system.messages("alice", GetMessagesRequest(chat_id=CHAT, token=ahead))
        assert refused.value.code == "BEHIND"
        assert refused.value.error.retriable
        assert refused.value.error.retry_after_ms > 0
        await alice.send(message("m", CHAT))
        await alice.until_acks(1)
        page = await system.patiently("alice", GetMessagesRequest(chat_id=CHAT, token=ahead))
        assert [event.client_message_id for event in page.messages] == ["m"]


async def test_a_token_is_compared_by_its_clock_first(tmp_path: Path) -> None:
    async with running(tmp_path) as system, system.stream("alice") as alice:
        await alice.send(message("m", CHAT))
        await alice.until_acks(1)
        request = GetMessagesRequest(chat_id=CHAT, token=token_of(alice))
        page = await system.patiently("alice", request)
        position = alice.position
        assert position
        beyond = position.offset + 100
        request.token.CopyFrom(token_at(position, beyond, 1))  # of an end that the log has lost
        assert await system.messages("alice", request) == page
        later_ms = position.clock_ms + 3_600_000
        for offset, clock_ms in ((0, later_ms), (beyond, position.clock_ms), (beyond, 0)):
            request.token.CopyFrom(token_at(position, offset, clock_ms))
            with pytest.raises(Refused) as refused:
                await system.messages("alice", request)
            assert refused.value.code == "BEHIND"


async def test_receipts_reach_the_sender_and_count_as_marks(tmp_path: Path) -> None:
    async with (
        running(tmp_path) as system,
        system.stream("alice") as alice,
        system.stream("alice") as tablet,
        system.stream("bob") as bob,
        system.stream("bob") as phone,
    ):
        await alice.send(*(message(f"m{n}", CHAT) for n in range(5)))
        ids = [item.ack.message_id for item in await alice.until_acks(5)]
        await bob.until_texts(5)
        await bob.send(message("answer", CHAT))
        answer = (await bob.until("ack")).ack.message_id

        async def unread(user: str, of: Stream) -> int:
            chats = await system.patiently(user, GetChatsRequest(token=token_of(of)))
            (chat,) = chats.chats
            assert chat.last_message.id == answer
            return int(chat.unread_count)

        assert await unread("bob", bob) == 5
        assert await unread("alice", bob) == 1

        # Read up to the third, then an older receipt comes late: marks only move up.
        await bob.send(receipt("r1", CHAT, delivered=ids[4], read=ids[2]))
        await bob.send(receipt("r2", CHAT, delivered=ids[1], read=ids[0]))
        await bob.until_acks(3)
        assert await unread("bob", bob) == 2
        await bob.send(receipt("r3", CHAT, read=ids[4]))
        await bob.until_acks(4)
        assert await unread("bob", bob) == 0
        assert await unread("alice", bob) == 1

        page = await system.patiently(
            "alice", GetMessagesRequest(chat_id=CHAT, token=token_of(bob))
        )
        (mark,) = page.marks
        assert (mark.user_id, mark.delivered_up_to, mark.read_up_to) == ("bob", ids[4], ids[4])
        assert [event.id for event in page.messages] == [*ids, answer]  # receipts are no messages

        for device in (alice, tablet, phone):
            marks: list[tuple[int, int]] = []
            while len(marks) < 3:
                item = await device.next()
                if item.delivered.event.HasField("receipt"):
                    told = item.delivered.event.receipt
                    marks.append((told.delivered_up_to, told.read_up_to))
            assert marks == [(ids[4], ids[2]), (ids[1], ids[0]), (0, ids[4])]


async def test_the_list_of_chats_is_paged_newest_first(tmp_path: Path) -> None:
    others = ["bob", "carol", "dave", "erin"]
    async with running(tmp_path) as system, system.stream("alice") as alice:
        for n, other in enumerate([*others, "bob"]):
            await alice.send(message(f"m{n}", f"d:alice~{other}"))
        await alice.until_acks(5)
        expected = ["bob", "erin", "dave", "carol"]
        whole = await system.patiently("alice", GetChatsRequest(token=token_of(alice)))
        assert [chat.chat_id for chat in whole.chats] == [f"d:alice~{user}" for user in expected]
        assert not whole.has_more
        found, before = [], 0
        while True:
            page = await system.chats("alice", GetChatsRequest(limit=1, before=before))
            found += [chat.chat_id for chat in page.chats]
            before = page.chats[-1].last_message.id
            if not page.has_more:
                break
        assert found == [chat.chat_id for chat in whole.chats]
        nobody = await system.chats("zoe", GetChatsRequest())
        assert (list(nobody.chats), nobody.has_more) == ([], False)


async def test_a_gap_is_filled_from_the_history_exactly(tmp_path: Path) -> None:
    """A device that comes with a position of another log sees all by gap and stream."""
    async with running(tmp_path) as system, system.stream("alice") as alice:
        async with system.stream("bob") as bob:
            await alice.send(*(message(f"m{n}", CHAT) for n in range(30)))
            await bob.until_texts(30)
        async with system.opened("bob") as again:
            await again.hello(Position(log_id="another", partition=2, offset=5))
            gap = (await again.until("gap")).gap
            await alice.send(message("after", CHAT))
            page = await system.patiently(
                "bob", GetMessagesRequest(chat_id=CHAT, token=gap.token, limit=100)
            )
            texts = [event.message.text for event in page.messages if event.message.text != "after"]
            assert texts == [f"m{n}" for n in range(30)]
            assert await again.until_texts(1) == ["after"]
