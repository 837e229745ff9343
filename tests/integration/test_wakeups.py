"""How often the event loop of one process turns, and how often a thread wakes it, for one message
with its receipt. Both are costs that no profile shows.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextvars import Context
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from tests.bench.generate import generate
from tests.integration.systems import QUICK, running

SECONDS = 3.0
WARM_UP_S = 1.0


class CountingLoop(asyncio.SelectorEventLoop):
    """A loop that counts its turns and the wake-ups by threads."""

    turns = 0
    woken = 0

    def _run_once(self) -> None:
        self.turns += 1
        super()._run_once()  # type: ignore[misc]

    @override
    def call_soon_threadsafe(  # type: ignore[override]  # one of typeshed's takes a TypeVarTuple
        self, callback: Callable[..., object], *arguments: Any, context: Context | None = None
    ) -> asyncio.Handle:
        self.woken += 1
        return super().call_soon_threadsafe(callback, *arguments, context=context)


async def per_message(folder: Path, window: int) -> tuple[float, float]:
    """Turns and wake-ups by threads, for each message of ten pairs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, CountingLoop)
    async with running(folder, QUICK) as system:
        addresses = system.addresses
        assert addresses.token_secret_file
        secret, pids = Path(addresses.token_secret_file), {"server": [os.getpid()]}
        words = f"closed --pairs 10 --window {window} --seconds {SECONDS} --warm-up {WARM_UP_S}"
        turns, woken = loop.turns, loop.woken
        figures = await generate(addresses.connect, secret, pids, words.split())
        messages = figures["delivered"] * (SECONDS + WARM_UP_S) / SECONDS
        return (loop.turns - turns) / messages, (loop.woken - woken) / messages


@pytest.mark.parametrize(("window", "turns_max", "woken_max"), [(1, 12.0, 4.0), (16, 3.0, 1.0)])
def test_a_message_wakes_the_process_a_few_times(
    tmp_path: Path, window: int, turns_max: float, woken_max: float
) -> None:
    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        turns, woken = runner.run(per_message(tmp_path, window))
    print(f"{turns:.2f} turns, {woken:.2f} wake-ups by threads a message")
    assert turns < turns_max
    assert woken < woken_max
