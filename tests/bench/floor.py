"""The bare relay beside the system: each run of a workload stands between two runs of the relay.

The ratio of what both take is the figure that travels from machine to machine: a busy or slow one
hits both.
"""

from __future__ import annotations

import asyncio
import json
import math
import shutil
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench.generate import Failed, generate
from tests.bench.table import aligned
from tests.support.results import ROOT, where

COST = "server_cpu_s_per_1000"
KEPT = Path(__file__).with_name("ratios.json")
WORSE = 1.2
"""A ratio that has grown by more than this factor is a regression."""
LATE = 0.95
"""Less than this share of the intended rate was not kept up with."""
STARTED_WITHIN_S = 30

Figures = dict[str, Any]
Run = Callable[[], Awaitable[Figures]]


class Beside(NamedTuple):
    """The medians over the rounds: of the system, of the relay, and of their ratio.

    If one of them did not keep the rate of an open loop in any round, the ratio is infinite: who is
    late does more at once, which is cheap.
    """

    system: Figures
    relay: Figures
    ratio: float


async def beside(rounds: int, system: Run, relay: Run, rate: float = 0) -> Beside:
    """Run both in turns, the relay first and last. `rate`: of an open loop, a second."""
    floors, found = [await relay()], []
    for _ in range(rounds):
        found.append(await system())
        floors.append(await relay())
    ratios = [
        2 * each[COST] / (before[COST] + after[COST])
        for each, (before, after) in zip(found, pairwise(floors), strict=True)
        if min(run["delivered_per_s"] for run in (each, before, after)) >= LATE * rate
    ]
    ratio = round(statistics.median(ratios), 2) if ratios else math.inf
    return Beside(medians(found), medians(floors), ratio)


def medians(runs: Sequence[Figures]) -> Figures:
    """Of each figure."""
    return {name: round(statistics.median(run[name] for run in runs), 4) for name in runs[0]}


async def relayed(folder: Path, transport: str, arguments: Sequence[str]) -> Figures:
    """Run a workload on a relay of its own. Raises `Failed`."""
    secret_file = _with_secret(folder)
    try:
        async with relay(folder, transport) as (address, pid):
            words = [*arguments, "--address", address, "--transport", transport]
            return await generate("", secret_file, {"server": [pid]}, words)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _with_secret(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    secret_file = folder / "secret"
    secret_file.write_text("nobody checks it, but it has to have thirty-two bytes")
    return secret_file


@asynccontextmanager
async def relay(folder: Path, transport: str) -> AsyncIterator[tuple[str, int]]:
    """Its address and its process, which is gone afterwards."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.relay", str(folder), transport,
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None, "a pipe was asked for"
    try:
        async with asyncio.timeout(STARTED_WITHIN_S):
            address = (await process.stdout.readline()).decode().strip()
        if not address:
            raise Failed("the relay did not start, see above")
        yield address, process.pid
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def keep(ratios: Mapping[str, float], file: Path = KEPT) -> None:
    """Store them as those that later runs are compared with. Others that are stored stay."""
    found = where()
    about = {name: found[name] for name in ("date", "machine", "python", "commit")}
    stored = json.loads(file.read_text())["ratios"] if file.exists() else {}
    known = stored | {name: ratio for name, ratio in ratios.items() if ratio < math.inf}
    file.write_text(json.dumps({**about, "ratios": known}, indent=2) + "\n")


def regressions(ratios: Mapping[str, float], file: Path = KEPT) -> list[str]:
    """Return a sentence for each ratio that is worse than the stored one by more than a fifth.
    Raises `Failed` if none can be compared.
    """
    stored: dict[str, float] = json.loads(file.read_text())["ratios"]
    if not ratios.keys() & stored.keys():
        raise Failed(f"nothing to compare was measured; stored are: {', '.join(stored)}")
    return [
        f"{name}: {shown(ratio)} times the cost of the relay; it was {stored[name]}"
        for name, ratio in ratios.items()
        if name in stored and ratio > WORSE * stored[name]
    ]


def shown(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < math.inf else "late"


FLOORS = (
    ("delivered_per_s", "delivered/s", "{:,.0f}"),
    ("p50_ms", "p50 ms", "{:.1f}"),
    ("p99_ms", "p99 ms", "{:.1f}"),
    (COST, "CPU-s/1,000", "{:.3f}"),
    ("generator_cpu_s_per_1000", "generator", "{:.3f}"),
)


def table(found: Mapping[str, Beside]) -> str:
    """A line for the system and one for the relay, with the ratio in the first."""
    rows = [["workload", "", *(title for _, title, _ in FLOORS), "ratio"]]
    for name, (system, floor, ratio) in found.items():
        for who, figures, last in (("CecoChat", system, shown(ratio)), ("relay", floor, "")):
            cells = [form.format(figures.get(key, 0)) for key, _, form in FLOORS]
            rows.append([name if last else "", who, *cells, last])
    return aligned(rows)
