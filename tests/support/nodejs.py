"""A Node process that runs clients, and is killed and started again with what they stored."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.support.apps import App, Gone, Said
from tests.support.typescript import driver


class NodeProcess:
    """See `apps.Driver`."""

    def __init__(self, dist: Path, folder: Path) -> None:
        self._dist, self.folder = dist, folder
        folder.mkdir()
        self._process: asyncio.subprocess.Process | None = None
        self.apps: dict[str, App] = {}

    async def tell(self, command: Said) -> None:
        """See `apps.Driver`."""
        if (process := self._process) is None:
            raise Gone
        assert process.stdin is not None, "a pipe was asked for"
        with suppress(ConnectionError):  # its end is noticed by whoever reads
            process.stdin.write(json.dumps(command).encode() + b"\n")
            await process.stdin.drain()

    def kill(self) -> None:
        """SIGKILL. It is started again at once."""
        if self._process and self._process.returncode is None:
            self._process.kill()

    async def run(self) -> None:
        """Run it, again and again, until cancelled."""
        while True:
            self._process = process = await driver(self._dist)
            for app in tuple(self.apps.values()):
                await app.open()
            try:
                await self._listen(process)
            except BaseException:
                process.kill()
                raise
            finally:
                self._process = None
                code = await process.wait()
            assert code == -signal.SIGKILL, f"the driver ended by itself, with {code}"
            for app in self.apps.values():
                app.died()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None, "a pipe was asked for"
        async for line in process.stdout:
            with suppress(ValueError):  # cut off by the kill
                said = json.loads(line)
                if app := self.apps.get(said["client"]):
                    app.hear(said)


@asynccontextmanager
async def node_process(dist: Path, folder: Path) -> AsyncIterator[NodeProcess]:
    """Run one until the end of the block. Its clients keep their files in `folder`."""
    made = NodeProcess(dist, folder)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(made.run())
        yield made
        running.cancel()
