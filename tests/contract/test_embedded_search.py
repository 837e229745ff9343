"""What only the index on SQLite promises: no byte of what is forgotten stays in its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from cecochat.adapters.embedded.search import EmbeddedSearch
from cecochat.domain.log.ids import UserId
from cecochat.domain.search.words import query
from tests.contract.test_search import all_found, text

CHAT = "d:ann~bob"


def bytes_of(folder: Path) -> bytes:
    files = sorted(folder.glob("search.db*"))
    assert files
    return b"".join(path.read_bytes() for path in files)


@pytest.mark.parametrize("is_open", [True, False])
async def test_no_byte_of_forgotten_words_stays_in_the_files(tmp_path: Path, is_open: bool) -> None:
    search = await EmbeddedSearch.open(tmp_path)
    turn = await search.clear()
    secrets = [f"xylo{n:04}phone" for n in range(500)]
    for n, secret in enumerate(secrets):
        await search.write([text(2 * n + 1, f"{secret} dear bob")], None, turn)
        await search.write([text(2 * n + 2, "dear ann", "bob")], None, turn)
    await search.database.empty_wal()
    assert any(secret[4:].encode() in bytes_of(tmp_path) for secret in secrets)
    await search.forget([UserId("ann")])
    await search.purge()
    if not is_open:
        await search.close()
    after = bytes_of(tmp_path)
    assert [each for each in secrets if each[4:].encode() in after] == []
    assert b"phone" not in after
    if is_open:
        assert len(await all_found(search, query("dear"), [CHAT])) == len(secrets)
        await search.close()
