"""Where the CPU of a server goes, by layer: `make bench ARGS="--layers"`. Needs py-spy.

py-spy tells what each thread does when it is looked at, but not well whether it does anything. So
the kernel's CPU time of each thread is divided by what py-spy saw it do while it did not wait.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.generate import Failed
from tests.bench.table import aligned

LAYERS = {
    "protobuf": r"_message\.abi3\.so|google/protobuf",
    "transport": r"cygrpc|grpc/|picows|aiofastnet|messaging/transport"
    r"|runtime/(grpc|socket|websocket)\.py",
    "materialize, history": r"servers/(materialize|history)|embedded/history\.py|history-writer",
    "log": r"domain/(log|ownership)|embedded/(backplane|records|streams|holes)\.py|ports/"
    r"|log-(writer|reader)"
    r"|messaging/(appending|partition|forward|ready|ownership|watermarks|replaying)\.py",
    "session": r"domain/session|servers/messaging",
    "wake-ups": r"asyncio|uvloop|loop\.c|handles/|uv_|uv__|threading\.py|queue",
}
"""The layer of a sample is the first that one of its frames belongs to, from the innermost out."""
OWN = re.compile(r"event_engine|grpc|timer_man")
"""Threads of gRPC in which no Python runs, so that py-spy does not see them."""
WAITS = re.compile(
    r"PyThread_acquire_lock_timed|pthread_cond_(timed)?wait|epoll_p?wait|take_gil|sem_|\bpoll \("
)
INNERMOST = 5
"""A sample waits if one of so many innermost frames does."""

THREAD = re.compile(r"thread \((\d+)\)")


def layer_of(stack: Sequence[str]) -> str:
    """The outermost frame comes first; its thread is frame 0."""
    for frame in reversed(stack):
        for layer, pattern in LAYERS.items():
            if re.search(pattern, frame):
                return layer
    return "other"


def shares(raw: str, threads: Mapping[int, tuple[str, float]]) -> dict[str, float]:
    """Divide 1 among the layers. `raw`: what py-spy wrote; `threads`: their names and CPU time."""
    seen: dict[int, Counter[str]] = {}
    for line in raw.splitlines():
        frames, _, count = line.rpartition(" ")
        stack = frames.split(";")
        found = THREAD.search(stack[0])
        if found and not any(map(WAITS.search, stack[-INNERMOST:])):
            seen.setdefault(int(found[1]), Counter())[layer_of(stack)] += int(count)
    used = dict.fromkeys((*LAYERS, "other"), 0.0)
    for thread, (name, cpu) in threads.items():
        if counts := seen.get(thread):
            for layer, times in counts.items():
                used[layer] += cpu * times / counts.total()
        else:
            used["transport" if OWN.search(name) else "other"] += cpu
    whole = sum(used.values()) or 1
    return {layer: each / whole for layer, each in used.items()}


def threads_of(pid: int) -> dict[int, tuple[str, float]]:
    """Thread -> its name, and its CPU time so far in ticks (Linux: proc_pid_stat)."""
    found = {}
    for file in Path(f"/proc/{pid}/task").glob("*/stat"):
        head, _, rest = file.read_text().rpartition(") ")
        fields = rest.split()
        found[int(file.parent.name)] = head.partition("(")[2], float(fields[11]) + float(fields[12])
    return found


async def recorded(pid: int, seconds: int, file: Path) -> dict[str, float]:
    """Look at a process for so long; the share of each layer. Raises `Failed`."""
    before = threads_of(pid)
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("py-spy"), "record", "--pid", str(pid), "--native",
        "--threads", "--rate", "100", "--duration", str(seconds), "--format", "raw",
        "--output", str(file),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    if await process.wait():
        raise Failed("py-spy failed: `pip install py-spy`, and be root or its parent")
    after = threads_of(pid)
    used = {
        thread: (name, cpu - before.get(thread, (name, 0.0))[1])
        for thread, (name, cpu) in after.items()
    }
    return shares(await asyncio.to_thread(file.read_text), used)


def table(found: Mapping[str, tuple[dict[str, float], Mapping[str, Any]]], cost: str) -> str:
    """Microseconds a message by layer, and the share in percent."""
    layers = (*LAYERS, "other")
    rows = [["workload", "µs a message", *layers]]
    for name, (share, figures) in found.items():
        micros = figures[cost] * 1_000
        cells = [f"{share[layer] * micros:.0f} ({share[layer]:.0%})" for layer in layers]
        rows.append([name, f"{micros:.0f}", *cells])
    return aligned(rows)
