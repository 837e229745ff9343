"""Who is refused as a stranger, by what the history says: also while it is behind or away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from cecochat.adapters.embedded.history import EmbeddedHistory
from cecochat.domain.errors import Refusal
from cecochat.domain.log.chain import Here
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import ChatId, UserId, dialog
from cecochat.domain.log.limits import OwnerLimits
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Copied
from cecochat.domain.ownership.owner import Owner
from cecochat.internal.client import InternalClient
from cecochat.internal.v1.internal_pb2 import Contact, Contacted
from cecochat.ports.backplane import Log
from cecochat.ports.discovery import Instance
from cecochat.ports.history import MarkRow, MessageRow, Progress
from cecochat.servers.history.contacts import LOOKED_AT_MAX, Contacts
from cecochat.servers.messaging.strangers import AWAY_S, COUNTED_S, FRESH_S, Strangers
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import ChatSettings, Edit, Event, Message
from cecochat.v1.messaging_pb2 import ReadToken, Send
from tests.support.eventually import eventually

ANN, BOB = UserId("ann"), UserId("bob")
CHAT = dialog(ANN, BOB)
LIMIT = 3
UNUSED: Any = None
SERVER = Instance("history", "h-1", "127.0.0.1:1", "http://127.0.0.1:2", "1")


class HistoryServer:
    """A history server as its callers see it: behind, away or slow."""

    def __init__(self, history: EmbeddedHistory) -> None:
        self.history = history
        self.contacts = Contacts(history, self.hold)
        self.is_away = self.is_slow = False
        self.has_below = 0  # of bob's partition
        self.asked = 0
        self.ids = 0

    async def hold(self, token: ReadToken) -> None:
        if any(offset >= self.has_below for offset in token.offsets.values()):
            raise Refusal(errors_pb2.ERROR_CODE_BEHIND, "not yet")

    async def contact(self, _: Instance, contact: Contact) -> Contacted | None:
        self.asked += 1
        if self.is_slow:
            await asyncio.Event().wait()
        if self.is_away:
            return None
        try:
            return await self.contacts.find(contact)
        except Refusal:
            return None

    async def write(self, user: UserId, *ids: str, chat: ChatId = CHAT) -> None:
        await self.history.write([self._row(user, id_, chat) for id_ in ids], [], None)

    def _row(self, user: UserId, id_: str, chat: ChatId) -> MessageRow:
        self.ids += 1
        event = Event(id=self.ids, user_id=user, chat_id=chat, client_message_id=id_)
        event.message.text = "hello"
        return MessageRow(self.ids, chat, user, (), event.SerializeToString())

    async def accept(self, user: UserId) -> None:
        self.ids += 1
        settings = ChatSettings(accepted=True).SerializeToString()
        mark = MarkRow(CHAT, user, 0, 0, self.ids.to_bytes(8, "big") + settings)
        await self.history.write([], [mark], None)


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[HistoryServer]:
    history = await EmbeddedHistory.open(tmp_path)
    await history.write([], [], Progress("log", 0, 0))
    yield HistoryServer(history)
    await history.close()


class Sender:
    """Ann, at the owner of her partition."""

    def __init__(self, server: HistoryServer, clock: Clock) -> None:
        log = Log(UNUSED, "log", 64)
        client = cast(InternalClient, server)
        self.strangers = Strangers(client, lambda: [SERVER], log, clock)
        partition, self.bobs = log.partition_of(ANN), log.partition_of(BOB)
        assert partition != self.bobs
        fold = Fold(Here(partition, log.partition_of))
        self.owner = Owner(partition, "ann", fold, cursor=0, forwarded=-1, limits=OwnerLimits())

    def reads(self, offset: int) -> None:
        """Read a copy from bob's partition."""
        self.owner.fold.high[self.bobs] = Copied(Place(5_000, offset), 1)

    async def send(self, *ids: str, chat: str = CHAT, limit: int = LIMIT) -> list[str]:
        """Return which of these messages are refused."""
        message = Message(text="hello")
        sends = [Send(client_message_id=id_, chat_id=chat, message=message) for id_ in ids]
        return list(await self.strangers.refused(self.owner, ANN, sends, limit))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ann(server: HistoryServer, clock: Clock) -> Sender:
    return Sender(server, clock)


async def test_what_is_new_and_what_was_written_before_is_counted(
    server: HistoryServer, ann: Sender
) -> None:
    await server.write(ANN, "1")
    assert await ann.send("2", "3", "4") == ["4"]
    assert await ann.send("1", "2", "3") == [], "these were counted"
    assert await ann.send("5") == ["5"]


async def test_only_messages_in_a_dialog_of_the_sender_count(
    server: HistoryServer, ann: Sender
) -> None:
    for chat in ("g:hikers", "d:bob~cyd", "d:bob~ann", "nonsense", "d:ann"):
        assert await ann.send("1", "2", "3", "4", chat=chat) == []
    edits = [Send(client_message_id=f"{n}", chat_id=CHAT, edit=Edit(text="x")) for n in range(5)]
    assert not await ann.strangers.refused(ann.owner, ANN, edits, LIMIT)
    assert server.asked == 0
    assert await ann.send(*"12345", limit=0) == []
    assert server.asked == 0


async def test_an_answer_counts_for_good_and_the_first_time_it_can(
    server: HistoryServer, ann: Sender
) -> None:
    assert await ann.send("1", "2", "3", "4") == ["4"]
    await server.write(BOB, "an answer")
    ann.reads(7)
    server.has_below = 8
    assert await ann.send("5", "6", "7", "8") == []
    asked = server.asked
    assert await ann.send("9") == []
    assert server.asked == asked


async def test_nobody_is_refused_by_a_history_that_lacks_an_answer_that_was_told(
    server: HistoryServer, ann: Sender
) -> None:
    await server.write(ANN, "1", "2", "3")
    ann.reads(7)
    sending = asyncio.create_task(ann.send("4"))
    await eventually(lambda: server.asked > 2)
    assert not sending.done(), "it waits for the history"
    await server.write(BOB, "an answer")
    server.has_below = 8
    assert await sending == []


async def test_an_acceptance_is_soon_in_force(
    server: HistoryServer, ann: Sender, clock: Clock
) -> None:
    assert await ann.send("1", "2", "3", "4") == ["4"]
    await server.accept(ANN)
    assert await ann.send("5") == ["5"]
    await server.accept(BOB)
    clock.now_s += FRESH_S
    assert await ann.send("6") == []


async def test_who_is_refused_again_and_again_costs_the_history_little(
    server: HistoryServer, ann: Sender, clock: Clock
) -> None:
    assert await ann.send("1", "2", "3", "4") == ["4"]
    asked = server.asked
    assert await ann.send(*"abcdefgh") == list("abcdefgh")
    assert server.asked == asked
    clock.now_s += FRESH_S
    assert await ann.send(*"abcdefgh") == list("abcdefgh")
    assert server.asked == asked + 1


async def test_what_was_counted_and_refused_for_another_reason_is_forgotten(
    server: HistoryServer, ann: Sender, clock: Clock
) -> None:
    assert await ann.send("1", "2", "too long", "4") == ["4"]
    await server.write(ANN, "1", "2")
    clock.now_s += FRESH_S
    assert await ann.send("4") == ["4"], "it may be on its way"
    clock.now_s += COUNTED_S
    assert await ann.send("4", "5") == ["5"]


@pytest.mark.parametrize("trouble", ["is_away", "is_slow"])
async def test_while_the_history_is_away_nobody_is_refused(
    server: HistoryServer, ann: Sender, clock: Clock, trouble: str
) -> None:
    setattr(server, trouble, True)
    assert await ann.send("1", "2", "3", "4") == []
    asked = server.asked
    assert await ann.send("5") == []
    assert server.asked == asked, "it is left alone for a while"
    setattr(server, trouble, False)
    await server.write(ANN, "1", "2", "3", "4", "5")
    clock.now_s += AWAY_S
    assert await ann.send("6") == ["6"]


async def test_who_writes_to_many_at_once_does_not_wait_for_each(
    server: HistoryServer, ann: Sender
) -> None:
    server.is_slow = True
    message = Message(text="hello")
    sends = [
        Send(client_message_id=f"{n}", chat_id=dialog(ANN, UserId(f"u{n}")), message=message)
        for n in range(50)
    ]
    assert not await ann.strangers.refused(ann.owner, ANN, sends, LIMIT)
    assert server.asked == 1
    server.is_slow = False
    for each in range(LIMIT):
        assert await ann.send(f"to u9, {each}", chat=sends[9].chat_id) == (
            [f"to u9, {each}"] if each == LIMIT - 1 else []
        ), "of those that did not wait, the next one does"


@pytest.mark.parametrize("count", [1, 19, 20, 21, 450])
async def test_an_answer_is_found_however_long_ago_it_was(
    server: HistoryServer, count: int
) -> None:
    await server.write(ANN, "first")
    await server.write(BOB, "an answer")
    await server.write(ANN, *(f"{number}" for number in range(count)))
    contact = Contact(user_id=ANN, chat_id=CHAT, limit=LIMIT)
    assert await server.contacts.find(contact) == Contacted(is_answered=True)
    await server.write(ANN, "to cyd", chat=dialog(ANN, UserId("cyd")))
    (row, other), _ = await server.history.chats(ANN, before=None, limit=2)
    assert await server.contacts.requests(BOB, [other]) == set()
    assert await server.contacts.requests(UserId("cyd"), [row]) == {row.chat_id}
    assert await server.contacts.requests(ANN, [row, other]) == set()


async def test_who_has_written_very_much_is_no_stranger_any_more(server: HistoryServer) -> None:
    contact = Contact(user_id=ANN, chat_id=CHAT, limit=LIMIT)
    await server.write(ANN, *(f"{number}" for number in range(LOOKED_AT_MAX)))
    found = await server.contacts.find(contact)
    assert list(found.client_message_ids) == ["997", "998", "999"]
    await server.write(ANN, *(f"more {number}" for number in range(50)))
    assert (await server.contacts.find(contact)).is_answered


async def test_it_answers_only_for_dialogs_of_the_user(server: HistoryServer) -> None:
    for wrong in (
        Contact(user_id=ANN, chat_id="g:hikers", limit=1),
        Contact(user_id="cyd", chat_id=CHAT, limit=1),
        Contact(user_id=ANN, chat_id=CHAT),
        Contact(user_id=ANN, chat_id=CHAT, limit=1_001),
    ):
        with pytest.raises(Refusal):
            await server.contacts.find(wrong)
