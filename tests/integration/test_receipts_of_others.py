"""What a receipt can do that names a message of somebody else: nothing outside of its own chat."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cecochat.domain.log.ids import PARTITION_BITS, SEQUENCE_BITS
from cecochat.v1.errors_pb2 import ErrorCode
from cecochat.v1.history_pb2 import GetChatsRequest, GetMessagesRequest
from tests.integration.streams import Stream, message, receipt
from tests.integration.systems import QUICK, Running, running
from tests.support.eventually import eventually

THEIRS, HERS = "d:alice~bob", "d:bob~eve"
MINUTE = 60_000 << PARTITION_BITS + SEQUENCE_BITS  # of ids
QUIET_S = 1.0  # to see that nothing comes


async def said(stream: Stream, name: str, chat: str) -> int:
    await stream.send(message(name, chat))
    while (item := await stream.until("ack")).ack.client_message_id != name:
        continue
    return item.ack.message_id


async def unread(system: Running, user: str, chat: str) -> int:
    answer = await system.chats(user, GetChatsRequest())
    return next(each.unread_count for each in answer.chats if each.chat_id == chat)


async def until_in_the_history(system: Running, user: str, chat: str) -> None:
    async def there() -> bool:
        return bool((await system.messages(user, GetMessagesRequest(chat_id=chat))).messages)

    await eventually(there)


async def test_a_mark_counts_in_its_own_chat_alone(tmp_path: Path) -> None:
    """Eve names, in her chat with Bob, what Alice has said to Bob."""
    async with (
        running(tmp_path, QUICK) as system,
        system.stream("alice") as alice,
        system.stream("eve") as eve,
    ):
        theirs = await said(alice, "theirs", THEIRS)
        await said(eve, "hers", HERS)
        await until_in_the_history(system, "alice", THEIRS)
        await until_in_the_history(system, "eve", HERS)
        for name, id_ in (("theirs", theirs), ("nobody's", theirs + 1)):
            await eve.send(receipt(name, HERS, delivered=id_, read=id_))
        await eve.until_acks(3)

        async def marked() -> bool:
            return await marks(system, "eve", HERS) == [("eve", theirs + 1)]

        await eventually(marked)
        assert await marks(system, "alice", THEIRS) == []
        assert await unread(system, "bob", THEIRS) == 1
        assert await unread(system, "bob", HERS) == 1
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(QUIET_S):
                await alice.until("delivered")


async def marks(system: Running, user: str, chat: str) -> list[tuple[str, int]]:
    page = await system.messages(user, GetMessagesRequest(chat_id=chat))
    return [(mark.user_id, mark.read_up_to) for mark in page.marks]


async def test_the_answer_does_not_tell_whether_there_is_such_a_message(tmp_path: Path) -> None:
    async with (
        running(tmp_path, QUICK) as system,
        system.stream("alice") as alice,
        system.stream("eve") as eve,
    ):
        theirs = await said(alice, "theirs", THEIRS)
        for n, id_ in enumerate((theirs, theirs + 1, theirs - 1, theirs - MINUTE, 1)):
            await eve.send(receipt(f"r{n}", HERS, read=id_))
        answers = [item.ack.client_message_id for item in await eve.until_acks(5)]
        assert answers == [f"r{n}" for n in range(5)]


@pytest.mark.parametrize(
    ("chat", "ahead", "code"),
    [
        (THEIRS, 0, "ERROR_CODE_FORBIDDEN"),
        (HERS, 2 * MINUTE, "ERROR_CODE_INVALID_ARGUMENT"),
    ],
)
async def test_what_is_not_hers_or_not_yet_is_refused(
    tmp_path: Path, chat: str, ahead: int, code: str
) -> None:
    async with (
        running(tmp_path, QUICK) as system,
        system.stream("alice") as alice,
        system.stream("eve") as eve,
    ):
        theirs = await said(alice, "theirs", THEIRS)
        await eve.send(receipt("r", chat, read=theirs + ahead))
        refused = (await eve.until("refused")).refused
        assert ErrorCode.Name(refused.error.code) == code
