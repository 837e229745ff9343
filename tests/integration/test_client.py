"""The Python client against the real system: what an application sees of it."""

from __future__ import annotations

import asyncio
import time

import pytest

from cecochat.client import (
    FOR_GOOD,
    ChatSettings,
    InvalidArgument,
    Message,
    Receipt,
    SendRejected,
    Sent,
    SettingsChanged,
)
from tests.integration.clients import WITHIN_S, device, next_of, said_by, texts_of
from tests.integration.systems import Running
from tests.support.eventually import eventually
from tests.support.texts import real_texts

# -- messages and receipts


async def test_a_message_is_sent_delivered_and_read(up: Running) -> None:
    async with device(up, "alice") as alice, device(up, "bob") as bob:
        sent = await alice.send("bob", "hello")
        got = await next_of(bob, Message)
        assert (got.id, got.user_id, got.chat_id, got.text) == (
            sent,
            "alice",
            "d:alice~bob",
            "hello",
        )
        assert abs(got.sent_at.timestamp() - time.time()) < 60
        await eventually(bob.chats)  # the history follows what was delivered
        [chat] = await bob.chats()
        assert (chat.unread_count, chat.last_message.id) == (1, sent)
        bob.mark_read("alice", got.id)
        read = await next_of(alice, Receipt, lambda receipt: receipt.read_up_to > 0)
        assert (read.user_id, read.read_up_to) == ("bob", sent)


async def test_delivered_is_told_only_once_the_event_is_dealt_with(up: Running) -> None:
    async with device(up, "alice") as alice, device(up, "bob") as bob:
        sent = await alice.send("bob", "hello")
        await next_of(bob, Message)
        page = await alice.history("bob")
        assert [mark for mark in page.marks if mark.user_id == "bob"] == []
        waiting = asyncio.create_task(anext(bob))  # bob asks for more
        told = await next_of(alice, Receipt)
        assert (told.user_id, told.delivered_up_to) == ("bob", sent)
        waiting.cancel()


async def test_what_a_user_sets_for_a_chat_is_so_on_all_their_devices(up: Running) -> None:
    async with (
        device(up, "alice") as alice,
        device(up, "bob") as bob,
        device(up, "bob") as other,
    ):
        await alice.send("bob", "hello")
        muted = ChatSettings(muted_until=FOR_GOOD)
        await bob.set_chat("alice", ChatSettings(pinned=True, archived=True))
        set_ = await bob.set_chat("alice", muted)
        assert (set_.chat_id, set_.settings) == ("d:alice~bob", muted)
        assert await next_of(other, SettingsChanged, lambda each: each.id == set_.id) == set_
        [chat] = await bob.chats()
        assert chat.settings == muted
        [chat] = await alice.chats()
        assert chat.settings == ChatSettings()
        with pytest.raises(InvalidArgument, match="time zone"):
            await bob.set_chat("alice", ChatSettings(muted_until=FOR_GOOD.replace(tzinfo=None)))


async def test_many_posts_keep_their_order_and_cost_few_receipts(up: Running) -> None:
    texts = [f"{number} {text}" for number, text in enumerate(real_texts()[:400])]
    async with device(up, "alice") as alice, device(up, "bob") as bob:
        answers = [await alice.post("bob", text) for text in texts]
        ids = await asyncio.gather(*answers)
        assert ids == sorted(set(ids))
        assert await texts_of(bob, len(texts)) == texts
        waiting = asyncio.create_task(anext(bob))
        receipts = 1
        while (await next_of(alice, Receipt)).delivered_up_to < ids[-1]:
            receipts += 1
        assert receipts < len(texts) / 4
        waiting.cancel()


async def test_a_refused_send_is_typed_and_those_behind_it_are_sent(up: Running) -> None:
    async with device(up, "alice", listen=False) as alice:
        sends = [
            ("bob", "one"),
            ("d:bob~carol", "not mine"),
            ("bob", "two"),
            ("bob", "x" * 20_000),
            ("bob", "three"),
        ]
        posted = [await alice.post(to, text) for to, text in sends]
        results = await asyncio.gather(*posted, return_exceptions=True)
        codes = [r.code if isinstance(r, SendRejected) else "accepted" for r in results]
        assert codes == ["accepted", "forbidden", "accepted", "too_large", "accepted"]
        assert (await said_by(alice)) == ["one", "two", "three"]


async def test_the_history_holds_what_was_acknowledged_at_once(up: Running) -> None:
    async with device(up, "alice", listen=False) as alice:
        for number in range(30):
            await alice.send("bob", str(number))
            assert (await alice.history("bob", 1)).messages[0].text == str(number)
        page = await alice.history("bob", 10)
        assert page.has_more
        older = await alice.history("bob", 100, before=page.messages[0].id)
        assert [m.text for m in older.messages] == [str(number) for number in range(20)]
        newer = await alice.history("bob", 100, after=page.messages[0].id)
        assert newer.messages == page.messages[1:]


async def test_a_cancelled_send_and_the_same_again_are_one_message(up: Running) -> None:
    async with device(up, "alice", listen=False) as alice:
        sending = asyncio.create_task(alice.send("bob", "once", client_message_id="mine"))
        await asyncio.sleep(0)
        sending.cancel()
        again = await asyncio.gather(
            *(alice.send("bob", "once", client_message_id="mine") for _ in range(5))
        )
        assert len(set(again)) == 1
        assert await said_by(alice) == ["once"]


async def test_own_devices_see_each_other(up: Running) -> None:
    async with device(up, "alice") as phone, device(up, "alice") as tablet:
        sent = await phone.send("bob", "from the phone")
        assert (await next_of(tablet, Message)).id == sent


# -- an application that is slower than what arrives


async def test_a_slow_application_loses_nothing_and_does_not_block_its_own_sends(
    up: Running,
) -> None:
    texts = [f"{number:04} {'x' * 100}" for number in range(500)]
    async with (
        device(up, "alice", listen=False) as alice,
        device(up, "bob", buffer_max_bytes=8_000) as bob,
    ):
        await asyncio.gather(*[await alice.post("bob", text) for text in texts])
        async with asyncio.timeout(WITHIN_S):
            await bob.send("carol", "still able to")
        assert await texts_of(bob, len(texts)) == texts


async def test_going_back_for_what_was_dropped_tells_no_answer_twice(up: Running) -> None:
    async with (
        device(up, "alice", listen=False) as alice,
        device(up, "bob", buffer_max_bytes=2_000) as bob,
        asyncio.timeout(WITHIN_S),
    ):
        await asyncio.gather(*[await alice.post("bob", f"{number}") for number in range(100)])
        await bob.send("carol", "answered by its future")
        await alice.send("bob", "the last")
        async for event in bob:
            assert not isinstance(event, Sent)
            if isinstance(event, Message) and event.text == "the last":
                break


async def test_answering_inside_the_loop_does_not_deadlock(up: Running) -> None:
    count = 150
    async with (
        device(up, "alice") as alice,
        device(up, "echo", buffer_max_bytes=2_000) as echo,
        asyncio.timeout(WITHIN_S),
    ):
        posted = [await alice.post("echo", f"{number}") for number in range(count)]
        answered = 0
        async for event in echo:
            if isinstance(event, Message):
                await echo.send(event.chat_id, f"you said {event.text}")
                answered += 1
                if answered == count:
                    break
        await asyncio.gather(*posted)
        assert await texts_of(alice, count) == [f"you said {number}" for number in range(count)]
