"""The edge as a process: `cecochat edge run` in front of a system of a test."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tests.support.backends import Backends
from tests.support.eventually import eventually
from tests.support.server import CECOCHAT, FREE, PREFIX, Server

READY = "The edge is ready"
READY_WITHIN_S = 90.0


@dataclass
class Edge:
    """It runs, or has run."""

    address: str
    folder: Path
    process: asyncio.subprocess.Process

    @property
    def said(self) -> str:
        """What it and HAProxy wrote, the access log among it."""
        return (self.folder / "edge.log").read_text(errors="replace")

    @property
    def pids(self) -> list[int]:
        """Of HAProxy: its master and its workers."""
        return list(_below(self.process.pid))


def _below(pid: int) -> Iterator[int]:
    for child in map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()):
        yield child
        yield from _below(child)


def free_address() -> str:
    """A port of loopback that nobody has."""
    while True:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", random.choice(FREE)))
            return f"127.0.0.1:{probe.getsockname()[1]}"


def _opened(folder: Path) -> BinaryIO:
    folder.mkdir(parents=True, exist_ok=True)
    return (folder / "edge.log").open("ab")


@asynccontextmanager
async def edge(
    address: str, folder: Path, backends: Backends, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Edge]:
    """One that is ready, and that is gone afterwards, in front of whatever the settings name."""
    backends.program("haproxy")
    log = _opened(folder)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    own = {"CECOCHAT_EDGE": address, "CECOCHAT_EDGE_HOST": "127.0.0.1", **(settings or {})}
    with log:
        process = await asyncio.create_subprocess_exec(
            *(CECOCHAT, "edge", "run"), env=inherited | own, stdout=log, stderr=log
        )
    started = Edge(address, folder, process)
    try:
        await eventually(lambda: READY in started.said or process.returncode, READY_WITHIN_S)
        assert READY in started.said, started.said
        yield started
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@asynccontextmanager
async def behind_an_edge(
    folder: Path, backends: Backends, settings: Mapping[str, str] | None = None
) -> AsyncIterator[tuple[Server, Edge]]:
    """A `cecochat up`, and the edge in front of it; both ready."""
    address = free_address()
    both = {**(settings or {}), "CECOCHAT_EDGE": address}
    server = Server(folder, both)
    try:
        await server.start()
        async with edge(address, folder, backends, {**both, **server.ports}) as front:
            yield server, front
    finally:
        await server.release()
