"""However pytest ends, nothing that its tests have started goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from scripts.backends.process import Process, began
from tests.support import left_running
from tests.support.backends import Backends
from tests.support.eventually import eventually

ROOT = Path(__file__).parents[2]
STARTED_WITHIN_S = 60.0
ENDED_WITHIN_S = 60.0


@asynccontextmanager
async def running_tests(folder: Path, *options: str) -> AsyncIterator[int]:
    """The pid of a pytest whose test has started a backend and a server, and waits."""
    ready = folder / "ready"
    with (folder / "printed").open("wb") as printed:
        pytest_ = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "pytest", left_running.__file__, *options),
            *("-p", "no:cacheprovider", "--basetemp", folder / "temporary"),
            cwd=ROOT, stdout=printed, stderr=printed, stdin=asyncio.subprocess.DEVNULL,
            env=os.environ | {left_running.READY: str(ready)},
        )  # fmt: skip
    try:
        await eventually(lambda: ready.exists() or pytest_.returncode, STARTED_WITHIN_S)
        assert ready.exists(), (folder / "printed").read_text()
        yield pytest_.pid
    finally:
        if pytest_.returncode is None:
            pytest_.kill()
        await pytest_.wait()


class Started(NamedTuple):
    """A process, whose it is, and what it runs."""

    process: Process
    parent: int
    command: str


def below(pid: int) -> Iterator[Started]:
    """The children of a process, and theirs."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            yield Started(Process(child, began(child)), pid, command(child))
            yield from below(child)


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(
    ("options", "to", "number"),
    [
        ((), "pytest", signal.SIGTERM),
        ((), "pytest", signal.SIGKILL),
        ((), "pytest", signal.SIGINT),
        (("-n", "1"), "pytest", signal.SIGTERM),
        (("-n", "1", "--max-worker-restart", "0"), "worker", signal.SIGTERM),
    ],
    ids=["SIGTERM", "SIGKILL", "SIGINT", "SIGTERM with workers", "SIGTERM of a worker"],
)
async def test_a_signal_leaves_nothing_running(
    tmp_path: Path, backends: Backends, options: tuple[str, ...], to: str, number: signal.Signals
) -> None:
    backends.provisioned("redis")
    async with running_tests(tmp_path, *options) as pid:
        started = list(below(pid))
        (redis,) = [each for each in started if "redis-server" in each.command]
        (up,) = [each for each in started if "cecochat up" in each.command]
        worker = redis.parent  # pytest itself, if it has none
        assert up.parent == worker
        os.kill(pid if to == "pytest" else worker, number)
        await eventually(lambda: not any(each.process.alive for each in started), ENDED_WITHIN_S)
