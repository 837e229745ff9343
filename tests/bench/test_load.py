"""The generator counts what a known server did. (These are no measurements.)"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.bench import load
from tests.bench.table import table
from tests.support.fakeserver import FakeServer, fake_server
from tests.support.results import where


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[FakeServer]:
    async with fake_server(tmp_path) as server:
        yield server


def job(server: FakeServer, workload: str, **extra: object) -> load.Job:
    given = {
        "workload": workload,
        "connect": server.connect_url,
        "secret_file": server.secret_file,
        "server_pid": [("server", [os.getpid()])],
        "seconds": 0.3,
        "warm_up": 0.1,
        "texts": "256",
        "pairs": 3,
        "window": 1,
        "rate": 100.0,
        "count": 50,
    }
    return load.Job(**given | extra)


@pytest.mark.parametrize("window", [1, 16])
async def test_a_closed_loop_counts_what_was_delivered(server: FakeServer, window: int) -> None:
    figures = await load.closed(job(server, "closed", window=window))
    assert 0 < figures["delivered"] <= len(server.log)
    assert 0 < figures["p50_ms"] <= figures["p99_ms"] <= figures["max_ms"] < 20_000
    assert {len(event.message.text) for event in server.log} == {256}


async def test_an_open_loop_keeps_its_rate(server: FakeServer) -> None:
    figures = await load.open_loop(job(server, "open", texts="real"))
    assert figures["delivered_per_s"] == pytest.approx(100, rel=0.3)


async def test_filling_ends_with_everything_delivered(server: FakeServer) -> None:
    figures = await load.fill(job(server, "fill", count=300))
    assert figures["messages"] >= 300


async def test_pages_and_idle_sessions_are_measured(server: FakeServer) -> None:
    paged = await load.pages(job(server, "pages"))
    assert 0 < paged["p50_ms"] <= paged["p99_ms"]
    idle = await load.idle(job(server, "idle", seconds=0.1))
    assert idle["connections"] == 50
    shown = table({"history page of 50": paged, "2,000 idle connections": idle}, where())
    assert "history page of 50" in shown
    assert shown.count("reached") + shown.count("NOT REACHED") >= 2
