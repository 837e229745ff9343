"""The protocol under all faults at once: no seed breaks a promise; and the simulator itself is
replayable, reaches what it is for, and shrinks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import pytest

from cecochat.domain.device.device import Device
from cecochat.domain.log.fold import Fold
from cecochat.domain.ownership.forwarder import Forwarder
from cecochat.domain.ownership.owner import Owner
from cecochat.domain.ownership.sent import SentTable
from cecochat.domain.session.session import Replay, Session
from cecochat.ports.reading import Lowest
from tests.sim import beginning
from tests.sim.ablations import ABLATIONS
from tests.sim.campaign import campaign
from tests.sim.report import shown
from tests.sim.schedule import FAULTS, STEPS, WEIGHTS, random_run, replay
from tests.sim.shape import Shape
from tests.sim.shrinking import shrink

SEEDS, MANY_SEEDS = 10_000, 40_000
ENOUGH = 5  # times that each thing has to happen


@pytest.mark.timeout(1_800)
def test_no_seed_breaks_a_promise(base_seed: int, thorough: bool) -> None:
    seeds = MANY_SEEDS if thorough else SEEDS
    found = campaign(base_seed, seeds, STEPS, Shape())
    for kind, (seed, _) in sorted(found.examples.items(), key=lambda each: each[1]):
        pytest.fail(
            f"{found.failed} of {seeds} seeds break a promise: {dict(found.kinds)}\n"
            f"replay: python -m tests.sim show {seed}\n"
            f"{shown(random_run(seed), Shape(), kind)}"
        )


@pytest.mark.parametrize(
    "shape",
    [
        Shape(partitions=1, nodes=2),
        Shape(partitions=2, nodes=2, tail_max_bytes=0),
        Shape(partitions=4, nodes=5, state_every=3, resend_records=0),
        Shape(partitions=4, nodes=3, lane_max_bytes=0, lanes_max_bytes=120),
        Shape(queue_max_bytes=100_000, tail_max_bytes=100_000, entries_max=1_000),
    ],
    ids=str,
)
def test_other_shapes_break_none(base_seed: int, shape: Shape) -> None:
    for seed in range(base_seed, base_seed + 100):
        run = random_run(seed, STEPS, shape)
        assert not run.broken, f"seed {seed}: {shown(run, shape)}"


def test_a_seed_is_replayed_to_the_letter(base_seed: int) -> None:
    run = random_run(base_seed)
    assert random_run(base_seed) == run
    assert replay(run.actions) == run


def test_a_failing_schedule_is_shrunk() -> None:
    ablation = next(each for each in ABLATIONS if each.name == "resends in order")
    with ablation.applied():
        run = random_run(ablation.seed)
        (kind,) = ablation.expected
        short = shrink(run, kind, replay)
        assert kind in replay(short.actions).kinds
    assert len(short.actions) < len(run.actions) / 4
    assert not replay(short.actions).broken


def _begun(lowest: Lowest, *_: object) -> str:
    return f"begun at what is {'gone' if lowest.last is None else 'left'}"


@pytest.mark.timeout(600)
def test_the_runs_reach_what_they_are_for() -> None:
    """Every action is performed, every refusal, repeat, gap and void record happens."""
    reached: Counter[str] = Counter()

    def counted(cls: Any, name: str, label: Callable[..., str]) -> Any:
        original = getattr(cls, name)

        def count(self: object, *args: object) -> object:
            result = original(self, *args)
            reached[label(result, *args)] += 1
            return result

        return patch.object(cls, name, count)

    watched = [
        counted(Session, "close", lambda _, refusal, *address: refusal.name),
        counted(Session, "refuse", lambda *_: "refused"),
        counted(Replay, "feed", lambda *_: "replayed from the log"),
        counted(Device, "filled", lambda *_: "gap filled"),
        counted(Fold, "step", lambda counts, _, record, *__: f"{type(record).__name__} {counts}"),
        counted(SentTable, "covers", lambda covers, _: f"position covered: {covers}"),
        counted(Owner, "attach", lambda attached, _: f"attached: {attached}"),
        counted(Owner, "settle", lambda settled, *_: f"send settled: {settled}"),
        counted(Owner, "tell_position", lambda *_: "position told"),
        counted(Forwarder, "rewind", lambda *_: "rewound"),
        counted(Fold, "afresh", lambda *_: "begun afresh"),
        counted(beginning, "lowest_fold", _begun),
        counted(Forwarder, "leave_out", lambda lost, *_: f"left out and told: {bool(lost)}"),
    ]
    expected = {*WEIGHTS, *FAULTS, "slow", "catch_up", "moved", "unavailable", "refused"}
    expected |= {"edit", "delete", "react"}
    expected |= {"gap filled", "replayed from the log", "Origin False", "Copy False"}
    expected |= {"position covered: False", "attached: False", "send settled: True"}
    expected |= {
        "position told",
        "spoil_other",
        "cut_log",
        "begun afresh",
        "begun at what is left",
        "Missing True",
        "rewound",
        "left out and told: True",
    }
    expected -= {"long_tick", "wrong_clock"}  # which are done as "tick" and "skew"

    def rare() -> dict[str, int]:
        return {each: reached[each] for each in expected if reached[each] < ENOUGH}

    with ExitStack() as stack:
        for each in watched:
            stack.enter_context(each)
        for seed in range(3_000):
            reached.update(str(action[0]) for action in random_run(seed).actions)
            if not rare():
                return
    assert not rare()
