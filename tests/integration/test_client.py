"""The Python client against the real system: what an application sees of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from cecochat.auth.tokens import mint
from cecochat.client import (
    CaughtUp,
    Client,
    Event,
    Message,
    NotReachable,
    Receipt,
    Reconnecting,
    Refused,
    SendRejected,
    Sent,
    StateInUse,
    StateUnusable,
    connect,
    find_route,
)
from cecochat.run import system
from cecochat.settings.settings import load
from tests.integration.systems import Running, running
from tests.support.eventually import eventually
from tests.support.server import free_ports
from tests.support.texts import real_texts

WITHIN_S = 30.0
E = TypeVar("E", bound=Event)


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path / "data") as started:
        yield started


def device(up: Running, user: str, state: Path | None = None, **options: Any) -> Any:
    return connect(up.addresses.connect, up.token(user), state=state, **options)


async def next_of(client: Client, kind: type[E], holds: Callable[[E], bool] = lambda _: True) -> E:
    """The next event of that kind; others are passed over."""
    async with asyncio.timeout(WITHIN_S):
        async for event in client:
            if isinstance(event, kind) and holds(event):
                return event
    raise AssertionError("the events ended")


async def texts_of(client: Client, count: int) -> list[str]:
    return [(await next_of(client, Message)).text for _ in range(count)]


def edit(state: Path, **changes: Any) -> None:
    """Change a kept state as no client does."""
    kept = json.loads(state.read_text())
    state.write_text(json.dumps({**kept, **changes}))


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
        posted = [
            await alice.post("bob", text) for text in ("one", "", "two", "x" * 20_000, "three")
        ]
        results = await asyncio.gather(*posted, return_exceptions=True)
        codes = [r.code if isinstance(r, SendRejected) else "accepted" for r in results]
        assert codes == ["accepted", "invalid_argument", "accepted", "too_large", "accepted"]
        assert (await said_by(alice)) == ["one", "two", "three"]


async def said_by(client: Client) -> list[str]:
    """What the history holds of the chat with bob, own acknowledged messages for certain."""
    return [message.text for message in (await client.history("bob")).messages]


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


# -- resume


async def test_a_returning_device_gets_exactly_what_it_missed(up: Running, tmp_path: Path) -> None:
    state = tmp_path / "bob.json"
    async with device(up, "alice", listen=False) as alice:
        async with device(up, "bob", state) as bob:
            await alice.send("bob", "seen")
            assert await texts_of(bob, 1) == ["seen"]
        missed = [f"missed {number}" for number in range(50)]
        for text in missed:
            await alice.post("bob", text)
        await alice.send("bob", "the last")
        async with device(up, "bob", state) as bob:
            assert await texts_of(bob, 51) == [*missed, "the last"]


async def test_an_event_that_was_being_dealt_with_comes_again(up: Running, tmp_path: Path) -> None:
    state = tmp_path / "bob.json"

    async def fails_at_the_second(bob: Client) -> None:
        await texts_of(bob, 2)
        raise ZeroDivisionError

    async with device(up, "alice", listen=False) as alice:
        async with device(up, "bob", state):
            pass
        for text in ("one", "two", "three"):
            await alice.send("bob", text)
        with pytest.raises(ZeroDivisionError):
            async with device(up, "bob", state) as bob:
                await fails_at_the_second(bob)
        async with device(up, "bob", state) as bob:
            assert await texts_of(bob, 2) == ["two", "three"]


async def test_a_gap_is_filled_from_the_history_once_and_in_order(
    up: Running, tmp_path: Path
) -> None:
    state = tmp_path / "bob.json"
    async with (
        device(up, "alice", listen=False) as alice,
        device(up, "carol", listen=False) as carol,
    ):
        async with device(up, "bob", state) as bob:
            await alice.send("bob", "seen")
            assert await texts_of(bob, 1) == ["seen"]
        by_alice = [f"alice {number}" for number in range(120)]
        by_carol = [f"carol {number}" for number in range(60)]
        for client, texts in ((alice, by_alice), (carol, by_carol)):
            await asyncio.gather(*[await client.post("bob", text) for text in texts])
        position = json.loads(state.read_text())["position"]
        edit(state, position={**position, "logId": "another log"})
        async with device(up, "bob", state) as bob:
            got = await texts_of(bob, 180)
            assert [text for text in got if text.startswith("alice")] == by_alice
            assert [text for text in got if text.startswith("carol")] == by_carol
            await next_of(bob, CaughtUp)
            await alice.send("bob", "live")
            assert await texts_of(bob, 1) == ["live"]


async def test_after_a_gap_marks_are_told_where_no_message_is_new(
    up: Running, tmp_path: Path
) -> None:
    state = tmp_path / "alice.json"
    async with device(up, "bob") as bob:
        async with device(up, "alice", state) as alice:
            sent = await alice.send("bob", "seen")
            await next_of(bob, Message)
            waiting = asyncio.create_task(anext(bob))
            await next_of(alice, Receipt)
        bob.mark_read("alice", sent)
        await eventually(lambda: read_by_bob(bob, sent))
        waiting.cancel()
        position = json.loads(state.read_text())["position"]
        edit(state, position={**position, "logId": "another log"})
        async with device(up, "alice", state) as alice:
            assert (await next_of(alice, Receipt)).read_up_to == sent


async def read_by_bob(bob: Client, message_id: int) -> bool:
    marks = (await bob.history("alice")).marks
    return any(mark.user_id == "bob" and mark.read_up_to == message_id for mark in marks)


async def test_after_a_gap_an_accepted_send_is_found_and_not_sent_again(
    up: Running, tmp_path: Path
) -> None:
    state = tmp_path / "alice.json"
    async with device(up, "alice", state) as alice:
        await next_of(alice, CaughtUp)
    before = json.loads(state.read_text())
    async with device(up, "alice", listen=False) as other:
        sent = await other.send("bob", "once", client_message_id="mine")
    unanswered = {
        "clientMessageId": "mine", "chatId": "d:alice~bob", "message": {"text": "once"},
    }  # fmt: skip
    edit(state, position={**before["position"], "logId": "another log"}, outbox=[unanswered])
    async with device(up, "alice", state) as alice:
        assert (await next_of(alice, Sent)).message.id == sent
        await alice.send("bob", "more")
        assert await said_by(alice) == ["once", "more"]


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


# -- servers that come and go


@asynccontextmanager
async def at(folder: Path, ports: dict[str, str]) -> AsyncIterator[system.Addresses]:
    """A system that comes back at the same ports."""
    environment = {**ports, "CECOCHAT_DATA_DIR": str(folder)}
    async with system.started(load(environment)) as addresses:
        yield addresses


def token_at(addresses: system.Addresses, user: str) -> str:
    assert addresses.token_secret_file
    return mint(Path(addresses.token_secret_file).read_bytes(), user, 600)


async def test_a_client_outlives_the_server(tmp_path: Path) -> None:
    ports = free_ports()
    state = tmp_path / "alice.json"
    async with at(tmp_path / "data", ports) as addresses:
        entering = connect(addresses.connect, token_at(addresses, "alice"), state=state)
        alice = await entering.__aenter__()
        await next_of(alice, CaughtUp)
    lost = await next_of(alice, Reconnecting)
    assert lost.error.retriable
    posted = [await alice.post("bob", f"{number}") for number in range(20)]
    async with at(tmp_path / "data", ports) as addresses:
        ids = await asyncio.wait_for(asyncio.gather(*posted), WITHIN_S)
        assert ids == sorted(set(ids))
        assert [m.text for m in (await alice.history("bob")).messages] == [
            f"{number}" for number in range(20)
        ]
        await next_of(alice, CaughtUp)
        await entering.__aexit__(None, None, None)


async def test_unanswered_sends_outlive_the_process(tmp_path: Path) -> None:
    ports = free_ports()
    state = tmp_path / "alice.json"
    async with at(tmp_path / "data", ports) as addresses:
        token = token_at(addresses, "alice")
        entering = connect(addresses.connect, token, state=state)
        alice = await entering.__aenter__()
        await next_of(alice, CaughtUp)
    await next_of(alice, Reconnecting)
    posted = [await alice.post("bob", text) for text in ("one", "two")]
    await entering.__aexit__(None, None, None)
    ended = await asyncio.gather(*posted, return_exceptions=True)
    assert [getattr(error, "code", None) for error in ended] == ["closed", "closed"]
    async with (
        at(tmp_path / "data", ports) as addresses,
        connect(addresses.connect, token, state=state) as alice,
    ):
        sent = [(await next_of(alice, Sent)).message.text for _ in range(2)]
        assert sent == ["one", "two"]
        assert await said_by(alice) == ["one", "two"]


# -- tokens and refusals


async def test_a_token_is_renewed_before_it_expires(up: Running) -> None:
    lifetimes = iter([3.0, 3_600.0, 3_600.0, 3_600.0])
    given: list[float] = []

    async def token() -> str:
        given.append(next(lifetimes))
        return up.token("alice", given[-1])

    expires_at_s = time.time() + 3.0
    async with connect(up.addresses.connect, token) as alice:
        await next_of(alice, CaughtUp)
        await eventually(lambda: time.time() > expires_at_s + 1)
        await alice.send("bob", "still here")
        events = asyncio.create_task(anext(alice))
        await alice.send("bob", "no reconnect in between")
        assert not events.done()
        events.cancel()
    assert given == [3.0, 3_600.0]


async def test_an_expired_token_that_cannot_be_renewed_ends_the_client(up: Running) -> None:
    async with connect(up.addresses.connect, up.token("alice", 2.0)) as alice:
        with pytest.raises(Refused, match="expired") as refused:
            await next_of(alice, Reconnecting)
        assert refused.value.code == "token_expired"
        with pytest.raises(Refused, match="expired"):
            await alice.send("bob", "too late")


async def test_a_wrong_token_is_refused(up: Running) -> None:
    stranger = mint(b"some other secret of at least thirty-two bytes", "alice", 60)
    with pytest.raises(Refused) as refused:
        async with connect(up.addresses.connect, stranger):
            pass
    assert refused.value.code == "unauthenticated"
    assert not refused.value.retriable


async def test_where_nothing_answers_it_says_so_in_time() -> None:
    port = free_ports()["CECOCHAT_CONNECT_PORT"]
    began_s = time.monotonic()
    with pytest.raises(NotReachable, match=f"127.0.0.1:{port}"):
        async with connect(f"http://127.0.0.1:{port}", "token", timeout_s=0.5):
            pass
    assert time.monotonic() - began_s < 10


async def test_what_is_no_connect_server_is_told_apart(up: Running) -> None:
    with pytest.raises(NotReachable, match="connect server"):
        await find_route(up.addresses.health["history"], up.token("alice"))


async def test_a_foreign_chat_and_a_foreign_state_are_refused(up: Running, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    async with device(up, "alice", state) as alice:
        with pytest.raises(SendRejected) as rejected:
            await alice.send("d:bob~carol", "hello")
        assert rejected.value.code == "forbidden"
        with pytest.raises(Refused) as refused:
            await alice.history("d:bob~carol")
        assert refused.value.code == "forbidden"
        with pytest.raises(StateInUse):
            async with device(up, "alice", state):
                pass
    with pytest.raises(StateUnusable, match="alice"):
        async with device(up, "bob", state):
            pass
