"""The contract of `ports.silences`, on every adapter."""

from __future__ import annotations

import uuid

import pytest

from cecochat.domain.errors import Unavailable
from cecochat.domain.log.ids import UserId
from cecochat.ports.silences import Silences
from tests.contract.conftest import OpenSilences

ALICE, BOB = UserId("alice"), UserId("bob")


@pytest.fixture
def group() -> str:
    """Of the test's own, since a database may have what other tests have stored."""
    return f"hooks.{uuid.uuid4().hex}"


async def test_what_is_stored_is_loaded_again(
    silences: Silences, open_silences: OpenSilences, group: str
) -> None:
    assert await silences.load(group, 0) == {}
    await silences.store(group, 0, {ALICE: b"first", BOB: b"of bob"})
    await silences.store(group, 0, {ALICE: b"second"})
    assert await silences.load(group, 0) == {ALICE: b"second", BOB: b"of bob"}
    await silences.close()
    assert await (await open_silences()).load(group, 0) == {ALICE: b"second", BOB: b"of bob"}


async def test_groups_and_partitions_have_their_own(silences: Silences, group: str) -> None:
    await silences.store(group, 0, {ALICE: b"here"})
    await silences.store(group, 1, {ALICE: b"there"})
    await silences.store(f"{group}.2", 0, {ALICE: b"of others"})
    assert await silences.load(group, 0) == {ALICE: b"here"}
    assert await silences.load(group, 1) == {ALICE: b"there"}
    assert await silences.load(group, 2) == {}


async def test_many_are_loaded(silences: Silences, group: str) -> None:
    values = {UserId(f"user-{number}"): b"%d" % number for number in range(6_000)}
    await silences.store(group, 3, values)
    assert await silences.load(group, 3) == values


async def test_storing_nothing_changes_nothing(silences: Silences, group: str) -> None:
    await silences.store(group, 0, {})
    assert await silences.load(group, 0) == {}


async def test_a_closed_store_is_not_available(silences: Silences, group: str) -> None:
    await silences.close()
    await silences.close()
    with pytest.raises(Unavailable):
        await silences.load(group, 0)
