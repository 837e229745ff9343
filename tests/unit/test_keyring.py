"""Which keys are used, and for how long, also while the store of keys does not answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cecochat.domain.cluster.revocations import Revocations
from cecochat.domain.errors import InvalidSettings, Refusal, Unavailable
from cecochat.domain.log.ids import UserId
from cecochat.ports.keys import Erased
from cecochat.sealing import keyring
from cecochat.sealing.keyring import AGAIN_S, FRESH_S, KNOWN_S, KeyRing
from cecochat.sealing.opening import Opening
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import Event, Mention, Message
from cecochat.v1.messaging_pb2 import Send
from tests.support.silentkeys import SilentKeys

ALICE, BOB = UserId("alice"), UserId("bob")


@dataclass
class World:
    keys: SilentKeys
    now_s: float = 1_000.0

    def ring(self, secret: bytes = b"a secret") -> KeyRing:
        return KeyRing(self.keys, secret, lambda: self.now_s)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    keys = await SilentKeys.open(tmp_path)
    assert isinstance(keys, SilentKeys)
    yield World(keys)
    await keys.close()


@pytest.fixture
async def ring(world: World) -> KeyRing:
    ring = world.ring()
    await ring.start()
    return ring


async def sealed_by(ring: KeyRing, user_id: UserId = ALICE) -> bytes:
    send = Send(client_message_id="1", chat_id="d:alice~bob", message=Message(text="hello"))
    send.message.mentions.add(user_id="bob", length=1)
    key = await ring.own(user_id)
    assert key
    key.seal(send)
    event = Event(user_id=user_id, chat_id=send.chat_id, client_message_id=send.client_message_id)
    event.message.CopyFrom(send.message)
    return event.SerializeToString()


async def opened_by(ring: KeyRing, event: bytes) -> Message:
    ((opened,),) = await Opening(ring).events([event])
    return Event.FromString(opened).message


async def test_what_one_server_seals_another_opens(world: World, ring: KeyRing) -> None:
    event, other = await sealed_by(ring), world.ring()
    await other.begin()
    mention = Mention(user_id="bob", length=1)
    assert await opened_by(other, event) == Message(text="hello", mentions=[mention])
    assert await sealed_by(other) == event, "there are two keys"


async def test_a_system_seals_once_it_is_told(world: World) -> None:
    older, later = world.ring(), world.ring()
    await older.begin()
    assert await older.own(ALICE) is None
    await later.start()
    assert await opened_by(older, await sealed_by(later)) == Message(
        text="hello", mentions=[Mention(user_id="bob", length=1)]
    )
    assert await older.own(ALICE) is not None, "alice has a key by now"
    assert await older.own(BOB) is None


async def test_without_sealing_nobody_waits_for_the_keys(world: World) -> None:
    ring = world.ring()
    await ring.begin()
    world.keys.is_silent = True
    assert await ring.own(ALICE) is None


async def test_another_secret_is_refused(world: World, ring: KeyRing) -> None:
    assert ring.seals
    with pytest.raises(InvalidSettings, match="another secret"):
        await world.ring(b"another").begin()
    with pytest.raises(InvalidSettings, match="another secret"):
        await world.ring(b"another").start()


async def test_who_is_erased_is_refused_and_what_they_wrote_is_gone(
    world: World, ring: KeyRing
) -> None:
    event = await sealed_by(ring)
    await world.keys.destroy(Erased(ALICE, 1, "root"))
    ring.forget()
    assert await opened_by(ring, event) == Message(erased=True)
    with pytest.raises(Refusal) as refused:
        await ring.own(ALICE)
    assert refused.value.error_code == errors_pb2.ERROR_CODE_ERASED
    assert not refused.value.retriable


async def test_a_destroyed_key_is_forgotten_in_time_by_itself(world: World, ring: KeyRing) -> None:
    event = await sealed_by(ring)
    await world.keys.destroy(Erased(ALICE, 1, "root"))
    world.now_s += FRESH_S
    assert await opened_by(ring, event) == Message(erased=True)


async def test_a_key_that_is_fresh_is_not_asked_for(world: World, ring: KeyRing) -> None:
    event, asked = await sealed_by(ring), world.keys.asked
    for _ in range(5):
        await opened_by(ring, event)
    assert world.keys.asked == asked
    world.now_s += FRESH_S
    await opened_by(ring, event)
    assert world.keys.asked == asked + 1


async def test_known_keys_serve_while_the_store_is_silent(world: World, ring: KeyRing) -> None:
    event, other = await sealed_by(ring), world.ring()
    await other.begin()
    of_bob = await sealed_by(other, BOB)
    world.keys.is_silent, asked = True, world.keys.asked
    world.now_s += FRESH_S
    for _ in range(5):
        assert (await opened_by(ring, event)).text == "hello"
    assert world.keys.asked == asked + 1, "each text waits for the silent store"
    with pytest.raises(Unavailable):
        await opened_by(ring, of_bob)
    world.now_s += AGAIN_S
    assert (await opened_by(ring, event)).text == "hello"
    world.now_s += KNOWN_S
    with pytest.raises(Unavailable):
        await opened_by(ring, event)
    world.keys.is_silent = False
    assert (await opened_by(ring, event)).text == "hello"


async def test_nobody_is_let_in_unsealed(world: World, ring: KeyRing) -> None:
    world.keys.is_silent = True
    with pytest.raises(Unavailable):
        await ring.own(ALICE)
    await world.keys.close()
    world.keys.is_silent = False
    with pytest.raises(Unavailable):
        await ring.own(ALICE)


async def test_what_is_held_is_bounded(ring: KeyRing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "HELD_MAX", 3)
    users = [UserId(f"user{number}") for number in range(5)]
    for user in users:
        await ring.own(user)
    assert (await ring.of(users)).keys() == set(users)
    assert len(ring._held) == 3


async def test_a_key_that_is_damaged_or_lost_harms_its_user_alone(
    world: World, ring: KeyRing, caplog: pytest.LogCaptureFixture
) -> None:
    event, of_bob = await sealed_by(ring), await sealed_by(ring, BOB)
    await world.keys.database.write(
        lambda keys: keys.execute("UPDATE keys SET key = x'00' WHERE user_id = 'alice'")
    )
    ring.forget()
    ((damaged, whole),) = await Opening(ring).events([event, of_bob])
    assert Event.FromString(damaged).message == Message(erased=True)
    assert Event.FromString(whole).message.text == "hello"
    assert "the key of alice is damaged" in caplog.text
    with pytest.raises(Unavailable, match="damaged"):
        await ring.own(ALICE)
    await world.keys.database.write(
        lambda keys: keys.execute("DELETE FROM keys WHERE user_id = 'alice'")
    )
    ring.forget()
    assert await opened_by(ring, event) == Message(erased=True)
    assert "alice has no key any more" in caplog.text


async def test_a_text_that_was_moved_is_told(
    ring: KeyRing, caplog: pytest.LogCaptureFixture
) -> None:
    event = Event.FromString(await sealed_by(ring))
    event.chat_id = "d:alice~eve"
    assert await opened_by(ring, event.SerializeToString()) == Message(erased=True)
    assert "is not what alice wrote there" in caplog.text


async def test_keys_are_forgotten_of_those_who_may_have_been_erased(
    world: World, ring: KeyRing
) -> None:
    opening, numbers = Opening(ring), list[int]()
    for user in (ALICE, BOB):
        await ring.own(user)

    async def follow(revoked: Revocations) -> None:
        opening.follow(revoked)
        before = world.keys.asked
        for user in (ALICE, BOB):
            await ring.of([user])
        numbers.append(world.keys.asked - before)

    await follow(Revocations(users={"alice": 5}))
    await follow(Revocations(users={"alice": 5}, logins={("bob", "phone"): 7}))
    await follow(Revocations(users={"alice": 5, "bob": 8}))
    await follow(Revocations(users={"alice": 9, "bob": 8}))
    await follow(Revocations(everyone_ms=10))
    await follow(Revocations(everyone_ms=10, apps={"shop": 11}))
    await follow(Revocations(everyone_ms=10))
    assert numbers == [1, 0, 1, 1, 2, 2, 0]
