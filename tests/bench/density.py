"""What thousands of idle devices cost one process, and how they come back after it is killed:
`make bench ARGS="--density 20000"`, with `--minutes 10`, or `--storm 10000`.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.bench.generate import Failed
from tests.bench.meter import cpu_s, peak_bytes, rss_bytes
from tests.support.hostile import metric
from tests.support.results import ROOT
from tests.support.server import Server, running

CONFIGURATION = {"sessions.max_per_server": 50_000}
FILES_OF_ITS_OWN = 300
A_PROCESS = 10_000
FROM_EACH_ADDRESS = 5_000
UP_WITHIN_S = 600.0
BACK_WITHIN_S = 300.0
HISTORY_READS = "cecochat_query_seconds_count"


class Driver:
    """A process with some of the devices."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, server: Server, first: int, count: int) -> Driver:
        addresses = range(first // FROM_EACH_ADDRESS, (first + count - 1) // FROM_EACH_ADDRESS + 1)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.idlers", "--connect", server.connect_url,
            "--secret-file", str(server.secret_file), "--first", str(first),
            "--count", str(count), "--addresses", ",".join(f"127.0.1.{n + 1}" for n in addresses),
            cwd=ROOT, stdout=asyncio.subprocess.PIPE, limit=1 << 24,
        )  # fmt: skip
        return cls(process)

    async def says(self, within_s: float) -> dict[str, Any]:
        """What it says next. Raises `Failed`."""
        assert self._process.stdout
        try:
            async with asyncio.timeout(within_s):
                said: dict[str, Any] = json.loads(await self._process.stdout.readline())
        except (TimeoutError, ValueError) as error:
            raise Failed(f"a driver did not say within {within_s} s that all are up") from error
        return said

    async def end(self) -> None:
        self._process.kill()
        await self._process.wait()


def fits(count: int) -> int:
    """So many of them as one process may hold here."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(count, hard - FILES_OF_ITS_OWN)


@asynccontextmanager
async def connected(server: Server, count: int) -> AsyncIterator[list[Driver]]:
    """That many devices are up."""
    async with AsyncExitStack() as stack:
        drivers = []
        for first in range(0, count, A_PROCESS):
            driver = await Driver.start(server, first, min(A_PROCESS, count - first))
            stack.push_async_callback(driver.end)
            drivers.append(driver)
        await said_by_all(drivers, UP_WITHIN_S)
        yield drivers


async def said_by_all(drivers: Sequence[Driver], within_s: float) -> list[dict[str, Any]]:
    return await asyncio.gather(*(driver.says(within_s) for driver in drivers))


async def idle(count: int, minutes: int, folder: Path) -> dict[str, Any]:
    """Memory and CPU by the minute, while nobody does anything."""
    count = fits(count)
    async with running(folder, configuration=CONFIGURATION) as server:
        empty = rss_bytes(server.pid)
        began_s, used_s = time.monotonic(), cpu_s(server.pid)
        async with connected(server, count):
            figures = {
                "devices": count,
                "rss_mb_empty": round(empty / 1e6, 1),
                "connected_in_s": round(time.monotonic() - began_s, 1),
                "connecting_cpu_s": round(cpu_s(server.pid) - used_s, 1),
                "rss_mb_connected": round(rss_bytes(server.pid) / 1e6, 1),
                "kb_a_device": round((rss_bytes(server.pid) - empty) / count / 1e3, 1),
            }
            by_minute = [await _minute(server.pid) for _ in range(minutes)]
            sessions = await metric(server.ready["health"]["messaging"], "cecochat_sessions")
            return {**figures, "by_minute": by_minute, "still_connected": int(sessions)}


async def _minute(pid: int) -> dict[str, float]:
    used_s = cpu_s(pid)
    await asyncio.sleep(60)
    cores = (cpu_s(pid) - used_s) / 60
    return {"rss_mb": round(rss_bytes(pid) / 1e6, 1), "cores": round(cores, 3)}


async def storm(count: int, folder: Path) -> dict[str, Any]:
    """The server is killed under so many devices and started again at once."""
    async with (
        running(folder, configuration=CONFIGURATION) as server,
        connected(server, count) as drivers,
    ):
        await server.kill()
        began_s = time.monotonic()
        await server.start()
        ready_s = time.monotonic() - began_s
        said = await said_by_all(drivers, BACK_WITHIN_S)
        took_s = time.monotonic() - began_s
        back_s = sorted(each for one in said for each in one["back_s"])
        return {
            "devices": count,
            "ready_after_kill_s": round(ready_s, 2),
            "half_back_s": back_s[len(back_s) // 2],
            "p99_back_s": back_s[int(len(back_s) * 0.99)],
            "all_back_s": back_s[-1],
            "all_back_after_kill_s": round(took_s, 2),
            "server_cpu_s": round(cpu_s(server.pid), 1),
            "rss_mb_peak": round(peak_bytes(server.pid) / 1e6, 1),
            "lookups": sum(each["lookups"] for each in said),
            "failed_attempts": sum(each["failures"] for each in said),
            "gaps": sum(each["gaps"] for each in said),
            "history_reads": int(await metric(server.ready["health"]["history"], HISTORY_READS)),
        }


def main(idlers: int, minutes: int, stormed: int) -> dict[str, dict[str, Any]]:
    """What is asked for, each on a fresh server."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        if idlers:
            found["idle"] = asyncio.run(idle(idlers, minutes, Path(folder) / "idle"))
        if stormed:
            found["storm"] = asyncio.run(storm(stormed, Path(folder) / "storm"))
    return found
