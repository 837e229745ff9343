"""A hold is said to be set once somebody knows it besides the store of documents."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cecochat.cli.errors import Failed
from cecochat.cli.privacy import holding
from cecochat.settings.settings import Settings

URLS = ["http://127.0.0.1:1"]


async def wait(monkeypatch: pytest.MonkeyPatch, urls: list[str], said: Iterator[list[int]]) -> None:
    async def servers(_: Settings) -> list[str]:
        return urls

    async def versions(*_: object) -> tuple[list[int], str]:
        return next(said), "one is silent"

    monkeypatch.setattr(holding, "_servers", servers)
    monkeypatch.setattr(holding, "_versions", versions)
    monkeypatch.setattr(holding, "KNOWN_WITHIN_S", 1.0)
    await holding.until_remembered(Settings(data_dir=Path("nowhere")), 7, None, None)


async def test_it_waits_until_a_server_knows_the_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter([[], [6, 6], [6, 7], [8]])
    await wait(monkeypatch, URLS, said)
    assert list(said) == [[8]]


async def test_where_nothing_runs_the_store_alone_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    await wait(monkeypatch, [], iter([]))


async def test_a_hold_that_no_server_follows_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def forever() -> Iterator[list[int]]:
        while True:
            yield [6]

    with pytest.raises(Failed, match=r"knows it after 1 s \(one is silent\).* Set it again"):
        await wait(monkeypatch, URLS, forever())
