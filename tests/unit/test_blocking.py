"""Who is refused in dialogs because the other one blocks them, also while the store is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typing_extensions import override

from cecochat.adapters.embedded.moderation import EmbeddedModeration
from cecochat.domain.errors import Unavailable
from cecochat.domain.log.ids import UserId
from cecochat.ports.moderation import Block, Blockers, Blocks, Paged
from cecochat.servers.messaging.blocking import AWAY_S, FRESH_S, Blocking
from cecochat.v1.events_pb2 import Deletion, Edit, Message, Reaction, Receipt
from cecochat.v1.messaging_pb2 import Send

ANN, BOB, CYD = map(UserId, ("ann", "bob", "cyd"))
MESSAGE = Send(message=Message(text="x"))


class Failing(Blocks):
    """A store that can be away, slow, or have too many to list."""

    def __init__(self, store: Blocks) -> None:
        self.store = store
        self.is_away = self.is_slow = self.is_many = False
        self.asked = 0

    async def _meet(self) -> None:
        self.asked += 1
        if self.is_slow:
            await asyncio.Event().wait()
        if self.is_away:
            raise Unavailable("away")

    @override
    async def put(self, block: Block) -> None:
        await self.store.put(block)

    @override
    async def remove(self, user_id: UserId, blocked_id: UserId) -> None:
        await self.store.remove(user_id, blocked_id)

    @override
    async def has(self, user_id: UserId, blocked_id: UserId) -> bool:
        await self._meet()
        return await self.store.has(user_id, blocked_id)

    @override
    async def of(self, user_id: UserId, *, after: str, limit: int) -> Paged[Block]:
        return await self.store.of(user_id, after=after, limit=limit)

    @override
    async def blockers_of(self, user_id: UserId) -> Blockers:
        await self._meet()
        found = await self.store.blockers_of(user_id)
        return Blockers(frozenset(), False) if self.is_many else found


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Failing]:
    opened = await EmbeddedModeration.open(tmp_path)
    yield Failing(opened.blocks)
    await opened.close()


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def blocking(store: Failing, clock: Clock) -> Blocking:
    return Blocking(store, clock)


async def codes(
    blocking: Blocking, chat: str = "d:ann~bob", send: Send = MESSAGE, user: UserId = BOB
) -> list[str]:
    made = Send(client_message_id="1", chat_id=chat)
    made.MergeFrom(send)
    return [each.name for each in (await blocking.refused(user, [made])).values()]


async def test_who_is_blocked_says_nothing_in_that_dialog(
    store: Failing, blocking: Blocking
) -> None:
    await store.put(Block(ANN, BOB, 1))
    for send in (MESSAGE, Send(edit=Edit(text="x")), Send(reaction=Reaction(emoji="+"))):
        assert await codes(blocking, send=send) == ["blocked"]
    for send in (Send(receipt=Receipt()), Send(deletion=Deletion())):
        assert await codes(blocking, send=send) == []
    assert await codes(blocking, "d:bob~cyd") == []
    assert await codes(blocking, "g:ann") == []
    assert await codes(blocking, "nonsense") == []
    assert await codes(blocking, user=ANN) == [], "ann may still write to bob"


async def test_a_block_and_its_end_are_soon_in_force(
    store: Failing, blocking: Blocking, clock: Clock
) -> None:
    assert await codes(blocking) == []
    await store.put(Block(ANN, BOB, 1))
    assert await codes(blocking) == []
    clock.now_s += FRESH_S
    assert await codes(blocking) == ["blocked"]
    await store.remove(ANN, BOB)
    clock.now_s += FRESH_S
    assert await codes(blocking) == []


@pytest.mark.parametrize("trouble", ["is_away", "is_slow"])
async def test_while_the_store_is_away_what_was_known_holds(
    store: Failing, blocking: Blocking, clock: Clock, trouble: str
) -> None:
    await store.put(Block(ANN, BOB, 1))
    assert await codes(blocking) == ["blocked"]
    clock.now_s += FRESH_S
    setattr(store, trouble, True)
    assert await codes(blocking) == ["blocked"]
    assert await codes(blocking, "d:ann~cyd", user=CYD) == [], "nothing is known of cyd"
    assert store.asked == 2, "it is left alone for a while"
    setattr(store, trouble, False)
    clock.now_s += AWAY_S
    await store.remove(ANN, BOB)
    assert await codes(blocking) == []


async def test_of_too_many_blockers_each_is_asked_for(store: Failing, blocking: Blocking) -> None:
    store.is_many = True
    await store.put(Block(ANN, BOB, 1))
    assert await codes(blocking) == ["blocked"]
    assert await codes(blocking, "d:bob~cyd") == []
