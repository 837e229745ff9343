"""How many messages somebody may write who is not answered, in systems as they run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from cecochat.client import ChatSettings, Client, Message, SendRejected
from cecochat.domain.log.ids import UserId, dialog
from cecochat.servers.messaging import strangers
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import Edit
from cecochat.v1.messaging_pb2 import Send, ServerItem
from tests.integration.clients import device, next_of
from tests.integration.streams import Stream, message, receipt
from tests.integration.systems import QUICK, Running, running
from tests.support.eventually import eventually

LIMIT = 2
STRICT = {**QUICK, "strangers.messages_max": LIMIT}
OTHERS = [f"user{number}" for number in range(4)]
"""Their partitions differ, and one has that of ann."""


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine, the history may take longer to answer than a send waits for it."""
    monkeypatch.setattr(strangers, "ASK_S", 20.0)


@pytest.fixture
async def system(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path, STRICT, partitions=4) as system:
        yield system


async def said(stream: Stream, send: Send) -> str:
    """With which code a send is refused; empty: it is accepted."""
    await stream.send(send)
    return code_of(await answer(stream))


async def answer(stream: Stream) -> ServerItem:
    while True:
        item = await stream.next()
        if item.HasField("ack") or item.HasField("refused"):
            return item


def code_of(item: ServerItem) -> str:
    if item.HasField("ack"):
        return ""
    return errors_pb2.ErrorCode.Name(item.refused.error.code).removeprefix("ERROR_CODE_")


async def code(system: Running, user: str, other: str, id_: str) -> str:
    async with system.stream(user) as stream:
        return await said(stream, message(id_, chat(user, other)))


def chat(user: str, other: str) -> str:
    return dialog(UserId(user), UserId(other))


async def test_who_is_not_answered_writes_no_more_until_there_is_an_answer(
    system: Running,
) -> None:
    for other in OTHERS:
        codes = [await code(system, "ann", other, f"{number}{other}") for number in range(4)]
        assert codes == ["", "", "STRANGER", "STRANGER"]
        assert await code(system, "ann", other, f"1{other}") == "", "it was accepted before"
        async with system.stream("ann") as ann:
            assert await said(ann, receipt(f"4{other}", chat("ann", other))) == ""
            assert await code(system, other, "ann", "an answer") == ""
            await ann.until_texts(1)
            assert await said(ann, message(f"5{other}", chat("ann", other))) == "", (
                "it was told of the answer"
            )
        codes = [await code(system, "ann", other, f"{number}{other}") for number in range(6, 10)]
        assert codes == [""] * 4


async def test_those_that_come_at_once_are_counted_and_so_are_those_of_two_devices(
    system: Running,
) -> None:
    sends = [message(f"{number}", chat("ann", "bob")) for number in range(5)]
    async with system.stream("ann") as one, system.stream("ann") as two:
        await one.send(*sends)
        codes = [code_of(await answer(one)) for _ in range(LIMIT + 1)]
        assert sorted(codes) == ["", "", "STRANGER"]
        assert await said(two, message("6", chat("ann", "bob"))) == "STRANGER"


async def test_nothing_is_forgotten_when_the_owner_is_another_one(tmp_path: Path) -> None:
    for number in range(4):
        async with running(tmp_path, STRICT, partitions=4) as system:
            expected = "STRANGER" if number >= LIMIT else ""
            assert await code(system, "ann", "bob", f"{number}") == expected
            assert await code(system, "ann", "cyd", f"to cyd {number}") == ""
            if not number:
                assert await code(system, "cyd", "ann", "an answer") == ""


async def test_a_request_is_accepted_without_an_answer(system: Running) -> None:
    async with device(system, "ann") as ann, device(system, "bob", listen=False) as bob:
        for text in ("hello", "are you there?"):
            await ann.send("bob", text)
        with pytest.raises(SendRejected) as rejected:
            await ann.send("bob", "well?")
        assert rejected.value.code == "stranger"
        await eventually(partial(requests, bob))
        assert await requests(bob) == [chat("ann", "bob")]
        assert await requests(ann) == [], "it is no request to who writes"
        await bob.set_chat("ann", ChatSettings(accepted=True))
        assert await requests(bob) == []
        await eventually(partial(sends, ann, "now?"))


async def requests(client: Client) -> list[str]:
    return [each.chat_id for each in await client.chats() if each.is_request]


async def sends(client: Client, text: str) -> bool:
    with suppress(SendRejected):
        return bool(await client.send("bob", text))
    return False


async def test_what_was_answered_is_no_request(system: Running) -> None:
    async with device(system, "ann", listen=False) as ann, device(system, "bob") as bob:
        await ann.send("bob", "hello")
        await next_of(bob, Message)
        await bob.send("ann", "hello, ann")
        for text in ("how are you?", "there is news"):
            await ann.send("bob", text)
        await ann.history("bob")  # it is in the history
        assert await requests(bob) == []


async def test_what_is_edited_or_sent_by_a_back_end_is_not_refused(system: Running) -> None:
    async with system.stream("ann") as ann, system.backend() as backend:
        await ann.send(message("1", chat("ann", "bob")))
        first = await ann.until("ack")
        assert await said(ann, message("2", chat("ann", "bob"))) == ""
        edit = Edit(message_id=first.ack.message_id, text="changed")
        sent = Send(client_message_id="3", chat_id=chat("ann", "bob"), edit=edit)
        assert await said(ann, sent) == ""
        assert await backend.send("ann", "bob", "your parcel is on its way")
        assert await said(ann, message("4", chat("ann", "bob"))) == "STRANGER"


async def test_without_the_key_nobody_is_a_stranger(tmp_path: Path) -> None:
    async with running(tmp_path, partitions=4) as system:
        codes = [await code(system, "ann", "bob", f"{number}") for number in range(5)]
        assert codes == [""] * 5
        async with device(system, "bob", listen=False) as bob:
            await eventually(bob.chats)
            assert await requests(bob) == []
