"""What is measured: latencies in a window of time, and the CPU and memory of processes."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """User and system time of a process with all its threads (Linux: fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def rss_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return _memory_bytes(pid, "VmRSS:")


def peak_bytes(pid: int) -> int:
    """The most that has been resident since the process began."""
    return _memory_bytes(pid, "VmHWM:")


def forget_peak(pid: int) -> None:
    """`peak_bytes` begins anew (Linux: proc_pid_clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _memory_bytes(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise ValueError(f"process {pid} has no memory")


def percentiles_ms(taken_s: list[float]) -> dict[str, float]:
    """p50, p99, p99.9 and the maximum, in milliseconds."""
    ordered = sorted(taken_s)

    def at(share: float) -> float:
        return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1_000, 3)

    return {"p50_ms": at(0.5), "p99_ms": at(0.99), "p99_9_ms": at(0.999), "max_ms": at(1)}


@dataclass
class Meter:
    """Latencies of what was delivered within the measured window, and the CPU time of the processes
    of each name.
    """

    pids: Mapping[str, Sequence[int]]
    counting: bool = False
    taken_s: list[float] = field(default_factory=list)

    def delivered(self, since_s: float) -> None:
        if self.counting:
            self.taken_s.append(time.perf_counter() - since_s)

    async def measure(self, warm_up_s: float, seconds: float) -> dict[str, Any]:
        """Let the load run for a while, then count; the figures of that window."""
        await asyncio.sleep(warm_up_s)
        gc.collect()
        gc.freeze()
        began, before, own = time.perf_counter(), self._cpu_s(), time.process_time()
        self.counting = True
        await asyncio.sleep(seconds)
        self.counting = False
        took = time.perf_counter() - began
        thousands = len(self.taken_s) / 1_000
        used = {name: after - before[name] for name, after in self._cpu_s().items()}
        own = time.process_time() - own
        return {
            "delivered": len(self.taken_s),
            "seconds": round(took, 3),
            "delivered_per_s": round(len(self.taken_s) / took, 1),
            **percentiles_ms(self.taken_s),
            **{f"{name}_cpu_s_per_1000": round(each / thousands, 4) for name, each in used.items()},
            **{f"{name}_cores": round(each / took, 3) for name, each in used.items()},
            "generator_cpu_s_per_1000": round(own / thousands, 4),
            "generator_cores": round(own / took, 3),
        }

    def _cpu_s(self) -> dict[str, float]:
        return {name: sum(map(cpu_s, pids)) for name, pids in self.pids.items()}
