"""The contract of `ports.keys`, on every adapter."""

from __future__ import annotations

import asyncio

import pytest

from cecochat.domain.errors import Unavailable
from cecochat.domain.log.ids import UserId
from cecochat.ports.keys import Erased, Keys
from tests.contract.conftest import OpenKeys

ALICE, BOB, EVE = UserId("alice"), UserId("bob"), UserId("eve")


async def test_a_key_stays_as_it_was_made(keys: Keys, open_keys: OpenKeys) -> None:
    assert await keys.get([ALICE, BOB]) == {}
    assert await keys.create(ALICE, b"first") == b"first"
    assert await keys.create(ALICE, b"second") == b"first"
    assert await keys.create(BOB, b"of bob") == b"of bob"
    assert await keys.get([EVE, BOB, ALICE]) == {ALICE: b"first", BOB: b"of bob"}
    await keys.close()
    assert await (await open_keys()).get([ALICE]) == {ALICE: b"first"}


async def test_of_keys_that_are_made_at_once_one_stands(keys: Keys, open_keys: OpenKeys) -> None:
    others = [keys, await open_keys()]
    made = await asyncio.gather(
        *(others[number % 2].create(ALICE, b"key %d" % number) for number in range(8))
    )
    assert len(set(made)) == 1
    assert await keys.get([ALICE]) == {ALICE: made[0]}


async def test_a_destroyed_key_stays_destroyed(keys: Keys, open_keys: OpenKeys) -> None:
    await keys.create(ALICE, b"a key")
    await keys.create(BOB, b"another")
    await keys.destroy(Erased(ALICE, 5_000, "root"))
    assert await keys.create(ALICE, b"a late key") is None
    assert await keys.get([ALICE, BOB]) == {ALICE: None, BOB: b"another"}
    await keys.destroy(Erased(ALICE, 6_000, "somebody"))
    assert await keys.erased() == [Erased(ALICE, 5_000, "root")]
    await keys.close()
    again = await open_keys()
    assert await again.create(ALICE, b"a later key") is None
    assert await again.get([ALICE]) == {ALICE: None}


async def test_many_are_destroyed_at_once(keys: Keys) -> None:
    users = [UserId(f"user{number:02}") for number in range(50)]
    await asyncio.gather(*(keys.create(user, b"a key") for user in users))
    await keys.destroy(*(Erased(user, 5_000, "root") for user in users[1:]))
    assert await keys.get(users) == {users[0]: b"a key", **dict.fromkeys(users[1:])}
    assert [each.user_id for each in await keys.erased()] == users[1:]
    await keys.destroy()


async def test_the_users_of_an_app_are_listed_in_pages(keys: Keys) -> None:
    others = map(UserId, ("shop", "news/eve", "shop-2/eve", "shop0", "sho/eve", "alice"))
    users = [UserId(f"shop/user{number}") for number in range(1_100)]
    for start in range(0, len(users), 50):
        await asyncio.gather(*(keys.create(each, b"a key") for each in users[start : start + 50]))
    await asyncio.gather(*(keys.create(each, b"a key") for each in others))
    await keys.destroy(*(Erased(each, 5_000, "root") for each in users[:3]))
    found = [page async for page in keys.users("shop")]
    assert sorted(each for page in found for each in page) == sorted(users)
    assert len(found) > 1
    assert all(0 < len(page) < 1_000 for page in found)
    assert [page async for page in keys.users("none")] == []


async def test_a_key_that_was_never_made_can_be_destroyed(keys: Keys) -> None:
    await keys.destroy(Erased(EVE, 5_000, "root"))
    assert await keys.create(EVE, b"a key") is None
    assert await keys.get([EVE]) == {EVE: None}


async def test_whoever_makes_and_whoever_destroys_agree(keys: Keys, open_keys: OpenKeys) -> None:
    other = await open_keys()
    made, _ = await asyncio.gather(
        keys.create(ALICE, b"a key"), other.destroy(Erased(ALICE, 5_000, "root"))
    )
    assert made in (b"a key", None)
    assert await keys.get([ALICE]) == {ALICE: None}


async def test_many_are_read_at_once(keys: Keys) -> None:
    users = [UserId(f"user{number}") for number in range(250)]
    await asyncio.gather(*(keys.create(user, user.encode()) for user in users))
    assert await keys.get(users) == {user: user.encode() for user in users}
    assert await keys.get([]) == {}


async def test_sealing_is_turned_on_once(keys: Keys, open_keys: OpenKeys) -> None:
    assert keys.is_new
    assert await keys.seals() == ""
    assert await keys.start_sealing("first") == "first"
    assert await keys.start_sealing("second") == "first"
    await keys.close()
    assert await (await open_keys()).seals() == "first"


async def test_who_is_erased_is_listed_in_order(keys: Keys) -> None:
    assert await keys.erased() == []
    for number, user in enumerate((EVE, ALICE, BOB)):
        await keys.destroy(Erased(user, number, "root"))
    assert [each.user_id for each in await keys.erased()] == [ALICE, BOB, EVE]


async def test_a_closed_store_says_so(keys: Keys) -> None:
    await keys.close()
    await keys.close()
    with pytest.raises(Unavailable):
        await keys.get([ALICE])
