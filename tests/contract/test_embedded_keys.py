"""What is special to the keys in SQLite: nothing of a destroyed key is left in any file."""

from __future__ import annotations

from pathlib import Path

import pytest

from cecochat.adapters.embedded.keys import EmbeddedKeys
from cecochat.domain.log.ids import UserId
from cecochat.ports.keys import Erased
from tests.support.left import places_of

KEY = b"a key of an unusual length, which is found wherever it is"


@pytest.mark.parametrize("others", [0, 1_000])
async def test_a_destroyed_key_is_in_no_file(tmp_path: Path, others: int) -> None:
    keys = await EmbeddedKeys.open(tmp_path)
    other = await EmbeddedKeys.open(tmp_path)  # as a command beside the server
    for number in range(others):
        await keys.create(UserId(f"user{number}"), b"x" * 80)
    await keys.create(UserId("alice"), KEY)
    assert await other.get([UserId("alice")]) == {"alice": KEY}
    assert places_of([KEY], tmp_path), "this search finds nothing"
    await other.destroy(Erased(UserId("alice"), 5_000, "root"))
    assert places_of([KEY], tmp_path) == []
    assert await keys.get([UserId("alice")]) == {"alice": None}
    await other.close()
    await keys.close()
    assert places_of([KEY], tmp_path) == []


async def test_a_folder_with_a_log_is_not_new(tmp_path: Path) -> None:
    (tmp_path / "log.db").touch()
    keys = await EmbeddedKeys.open(tmp_path)
    assert not keys.is_new
    await keys.close()
