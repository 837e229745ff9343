"""A backend of a test's own, to be killed, paused and started again: never the shared one."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from scripts.backends import ports
from scripts.backends.instance import Kind
from scripts.backends.launch import Backend
from tests.support.backends import Backends


class Private:
    """A `Backend` for asyncio: its calls block, with deadlines."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.address = backend.address

    async def start(self) -> None:
        """The same data, the same ports."""
        await asyncio.to_thread(self.backend.start)

    async def kill(self) -> None:
        child = self.backend._child
        await asyncio.to_thread(self.backend.kill)
        if child is not None:  # it is gone, and maybe not yet reaped
            await asyncio.to_thread(child.wait)

    async def lose_everything(self) -> None:
        """Killed, and its data with it."""
        await self.kill()
        shutil.rmtree(self.backend.instance.data)


@asynccontextmanager
async def private(kind: Kind, folder: Path, backends: Backends) -> AsyncGenerator[Private]:
    """Started; where its program is missing, as `Backends.absent`."""
    if not kind.here():
        backends.absent(kind.name)
    made = Private(Backend(kind, kind.instance(folder, ports.free(kind))))
    try:
        await made.start()
        yield made
    finally:
        await made.kill()
