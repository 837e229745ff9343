"""The rounds and steps of an audit, against a log that loses its beginning or its end, partitions
that go to another server, and an operator who asks for what is not there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.adapters.embedded.history import EmbeddedHistory
from cecochat.domain.errors import Refusal
from cecochat.materialize import auditor
from cecochat.materialize.auditor import Auditor
from cecochat.materialize.on_request import OnRequest
from tests.integration.test_materialize import (
    BEGAN_MS,
    TAKEOVER,
    append,
    materialized,
    opened,
    origin,
)

QUICK_S = 10.0


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EmbeddedBackplane]:
    """A takeover, and five messages behind it with the ids 1 to 5."""
    async with opened(tmp_path / "log") as log:
        await append(log, BEGAN_MS, TAKEOVER, *(origin(n, n + 1) for n in range(5)))
        yield log


@pytest.fixture
async def history(tmp_path: Path) -> AsyncIterator[EmbeddedHistory]:
    history = await EmbeddedHistory.open(tmp_path / "history")
    yield history
    await history.close()


def auditing(log: EmbeddedBackplane, history: EmbeddedHistory, mine: list[int]) -> Auditor:
    looking = Auditor(log, history, CollectorRegistry(), lambda: mine)
    looking.rate = 1_000
    return looking


async def test_a_partition_that_goes_away_while_it_is_compared_again_ends_nothing(
    log: EmbeddedBackplane, history: EmbeddedHistory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auditor, "AGAIN_S", 0.0)
    monkeypatch.setattr(auditor, "SLOW_SHARE", 0.0005)  # of 5,000 records: 2
    await materialized(log, history, 5)
    mine = [0]
    looking = auditing(log, history, mine)
    for _ in range(2):
        await looking.round()
    mine.clear()
    looking.rate = 0
    await looking.round()
    assert looking.complete == {}


async def test_who_asks_for_what_lies_behind_the_end_is_refused_and_holds_up_nobody(
    log: EmbeddedBackplane, history: EmbeddedHistory
) -> None:
    await materialized(log, history, 5)
    asked = OnRequest(log, history, lambda _: None)
    async with asyncio.timeout(QUICK_S):
        for after in (6, 10_000):
            with pytest.raises(Refusal, match="below 6"):
                await asked.step(0, after)
        assert (await asked.step(0, 5)).rows == 0
        assert (await asked.step(0, None)).rows == 5
