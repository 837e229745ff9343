"""A Node process that runs applications, and is killed and started again with what they stored."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from tests.support.apps import App, Gone, Said

DRIVER = Path("test/faults/node.js")
LINE_BYTES = 16 << 20


class NodeProcess:
    """See `apps.Driver`."""

    def __init__(self, node: str, package: Path, folder: Path) -> None:
        self._words = (node, str(package / DRIVER), str(folder))
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
            self._process = process = await self._started()
            for app in tuple(self.apps.values()):
                await app.open()
            try:
                await self._listen(process)
            except BaseException:
                process.kill()
                raise
            finally:
                self._process = None
                await process.wait()
            for app in self.apps.values():
                app.died()

    async def _started(self) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *self._words, stdin=pipe, stdout=pipe, limit=LINE_BYTES
        )

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None, "a pipe was asked for"
        async for line in process.stdout:
            with suppress(ValueError):  # cut off by the kill
                said = json.loads(line)
                if app := self.apps.get(said["app"]):
                    app.hear(said)


@asynccontextmanager
async def node_process(node: str, package: Path, folder: Path) -> AsyncIterator[NodeProcess]:
    """Run one until the end of the block."""
    made = NodeProcess(node, package, folder)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(made.run())
        yield made
        running.cancel()
