"""The relay relays, and a ratio that is worse is told. (These are no measurements.)"""

from __future__ import annotations

import math
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from tests.bench import floor, layers
from tests.bench.generate import Failed

QUICK = ["--seconds", "0.5", "--warm-up", "0.2", "--pairs", "3"]


@pytest.mark.parametrize("transport", ["grpc", "websocket"])
@pytest.mark.parametrize("frame", ["1", "16"])
async def test_the_relay_delivers_and_acknowledges(
    tmp_path: Path, transport: str, frame: str
) -> None:
    words = ["closed", "--window", "16", "--frame", frame, *QUICK]
    figures = await floor.relayed(tmp_path / "relay", transport, words)
    assert figures["delivered"] > 0
    assert not (tmp_path / "relay").exists()


async def measured(costs: list[float], floors: list[float], per_s: float = 500) -> floor.Beside:
    system, relay = cycle(costs), cycle(floors)

    def figures(cost: float) -> dict[str, Any]:
        return {floor.COST: cost, "delivered_per_s": per_s}

    async def run_system() -> dict[str, Any]:
        return figures(next(system))

    async def run_relay() -> dict[str, Any]:
        return figures(next(relay))

    return await floor.beside(len(costs), run_system, run_relay, rate=500)


async def test_each_run_is_compared_with_the_relay_before_and_after_it() -> None:
    found = await measured([4.0, 9.0, 3.0], [1.0, 3.0, 1.0, 1.0])  # 4/2, 9/2, 3/1
    assert found.ratio == 3
    assert "3.00" in floor.table({"a workload": found})


async def test_who_is_late_has_no_ratio(tmp_path: Path) -> None:
    found = await measured([4.0], [1.0], per_s=400)
    assert found.ratio == math.inf
    assert "late" in floor.table({"a workload": found})
    file = tmp_path / "ratios.json"
    floor.keep({"a": 2.0, "b": found.ratio}, file)
    assert floor.regressions({"a": found.ratio, "b": found.ratio}, file) == [
        "a: late times the cost of the relay; it was 2.0"
    ]


def test_more_than_a_fifth_is_told(tmp_path: Path) -> None:
    file = tmp_path / "ratios.json"
    floor.keep({"a": 2.0, "b": 3.0}, file)
    assert floor.regressions({"a": 2.4, "b": 3.0, "new": 9.0}, file) == []
    (told,) = floor.regressions({"a": 2.41, "b": 1.0}, file)
    assert told == "a: 2.41 times the cost of the relay; it was 2.0"
    with pytest.raises(Failed, match="stored are: a, b"):
        floor.regressions({"mistyped": 1.0}, file)


def test_what_is_not_measured_again_stays_stored(tmp_path: Path) -> None:
    file = tmp_path / "ratios.json"
    floor.keep({"a": 2.0, "b": 3.0}, file)
    floor.keep({"b": 4.0}, file)
    assert len(floor.regressions({"a": 9.0, "b": 9.0}, file)) == 2
    assert floor.regressions({"a": 2.0, "b": 4.5}, file) == []


def test_the_cpu_of_a_thread_is_divided_by_what_it_did_while_it_did_not_wait() -> None:
    main = "thread (1): MainThread;run (uvloop/__init__.py:92)"
    raw = "\n".join(
        [
            f"{main};take (cecochat/domain/session/intake.py:1);Parse (_message.abi3.so) 3",
            f"{main};take (cecochat/domain/session/intake.py:1) 1",
            "thread (2): log-writer;run (threading.py:1);take_gil (libpython3.so);x (libc.so.6) 90",
            "thread (2): log-writer;execute (sqlite3) 5",
        ]
    )
    threads = {1: ("cecochat", 40.0), 2: ("cecochat", 20.0), 3: ("event_engine", 40.0)}
    found = layers.shares(raw, threads)
    assert {layer: round(share, 2) for layer, share in found.items() if share} == {
        "protobuf": 0.3,
        "session": 0.1,
        "log": 0.2,
        "transport": 0.4,
    }
