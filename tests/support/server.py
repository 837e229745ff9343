"""The real thing as a child process: `cecochat up`, started, killed and started again.

What the contract with the command line is, is here and nowhere else: flags, the ready line, and the
environment variables that settings and configuration keys come in.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import operators, shared, workers
from tests.support.records import SERVER, Record, ServerDied, ServerReady, ServerSignalled

FREE = workers.own(range(10_000, 32_000))
"""Below the ports that the kernel gives to connections that go out: one of these, on its way to a
dead server, could take the server's own.
"""
READY_WITHIN_S = 90.0
STOPPED_WITHIN_S = 60.0
CECOCHAT = Path(sys.executable).with_name("cecochat")
PREFIX = "CECOCHAT_"
PORTS = (
    "CONNECT_PORT",
    "MESSAGING_PORT",
    "HISTORY_PORT",
    "MESSAGING_HEALTH_PORT",
    "MATERIALIZE_HEALTH_PORT",
    "HISTORY_HEALTH_PORT",
    "CONTROL_PORT",
    "CONNECT_HEALTH_PORT",
    "MESSAGING_WEBSOCKET_PORT",
    "HISTORY_HTTP_PORT",
    "CONNECT_GRPC_PORT",
    "HOOKS_HEALTH_PORT",
)
NO_LIMITS = {
    "sends.rate_per_user": 1_000_000,
    "sends.burst": 1_000_000,
    "connects.rate_per_user": 1_000_000,
    "connects.burst": 1_000_000,
    "queries.rate_per_user": 1_000_000,
    "queries.burst": 1_000_000,
}
"""A test that is no test of rate limits sends as fast as it likes."""
SHORT_RETENTION = {"CECOCHAT_RETENTION_MS": "2000"}
"""Settings with which the log drops what is some seconds old."""


class DidNotStart(Exception):
    """No ready line. The message holds what the process said."""


def free_ports() -> dict[str, str]:
    """Ports that are free, one for each server."""
    with ExitStack() as stack:
        found: list[int] = []
        while len(found) < len(PORTS):
            listener = stack.enter_context(socket.socket())
            with suppress(OSError):
                listener.bind(("127.0.0.1", random.choice(FREE)))
                found.append(listener.getsockname()[1])
    return {f"{PREFIX}{name}": str(port) for name, port in zip(PORTS, found, strict=True)}


@dataclass
class Server:
    """One data folder and at most one process on it, which keeps its ports over restarts."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    ports: Mapping[str, str] = field(default_factory=lambda: free_ports())
    words: tuple[str, ...] = ()  # more of the command line of `up`
    ready: dict[str, Any] = field(default_factory=dict)
    started_in_s: float = 0.0
    record: Record = field(default_factory=Record)  # what happens to the process is noted there
    _process: asyncio.subprocess.Process | None = None

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def connect_url(self) -> str:
        return str(self.ready["connect"])

    @property
    def secret_file(self) -> Path:
        return Path(self.ready["token_secret_file"])

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    @property
    def said(self) -> str:
        """What it wrote to standard error, over all starts."""
        return (self.folder / "stderr").read_text(errors="replace")

    async def start(self) -> None:
        """Returns with the ready line read. Raises `DidNotStart`."""
        began = time.monotonic()
        self._process = await self._run("up", "--json", *self.words)
        assert self._process.stdout is not None, "a pipe was asked for"
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                self.ready = json.loads(await self._process.stdout.readline())
        except (TimeoutError, ValueError) as error:
            await self._signal(signal.SIGABRT)  # the stacks of its threads go to stderr
            raise DidNotStart(self.said[-3_000:]) from error
        self.started_in_s = time.monotonic() - began
        assert self.ready["pid"] == self.pid, "the signals would go to another process"
        self.record.add(SERVER, 0, ServerReady(self.pid))

    async def kill(self) -> int:
        """SIGKILL; returns the process's return code once it is dead."""
        return await self._signal(signal.SIGKILL)

    async def terminate(self) -> int:
        """SIGTERM, as a deployment stops it: drain, then end."""
        return await self._signal(signal.SIGTERM)

    async def _signal(self, number: signal.Signals) -> int:
        assert self._process is not None, "not started"
        if self._process.returncode is None:
            self.record.add(SERVER, 0, ServerSignalled(self.pid, number.name))
            self._process.send_signal(number)
        async with asyncio.timeout(STOPPED_WITHIN_S):
            return_code = await self._process.wait()
        self.record.add(SERVER, 0, ServerDied(self.pid, return_code))
        return return_code

    async def _run(self, *words: str) -> asyncio.subprocess.Process:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "stderr").open("ab") as errors:
            return await asyncio.create_subprocess_exec(
                CECOCHAT, *words, "--data", str(self.data),
                stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=errors,
                env=self._env(),
            )  # fmt: skip

    def _env(self) -> dict[str, str]:
        """The environment without what configures other servers, such as a seed of the tests."""
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(PREFIX)
        }
        own = {"XDG_STATE_HOME": str(self.folder / "state"), "PYTHONFAULTHANDLER": "1"}
        own |= operators.SETTING
        return inherited | own | dict(self.ports) | dict(self.environment)

    async def release(self) -> None:
        """End what is left of it; that is no part of the run, and not in its record."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def started(server: Server) -> AsyncIterator[Server]:
    """It starts in one go, with the limits that it comes with, and is gone afterwards whatever
    happens.
    """
    try:
        await server.start()
        yield server
    finally:
        await server.release()


@asynccontextmanager
async def running(
    folder: Path,
    environment: Mapping[str, str] | None = None,
    configuration: Mapping[str, Any] | None = None,
    words: tuple[str, ...] = (),
) -> AsyncIterator[Server]:
    """A server that is ready, without limits, and that is gone afterwards whatever happens."""
    server = Server(folder, environment or {}, words=words)
    where = {f"{PREFIX}DATA_DIR": str(server.data)} | dict(server.environment)
    await shared.configure(where, {**NO_LIMITS, **(configuration or {})})
    async with started(server):
        yield server


async def command(environment: Mapping[str, str], *words: str, code: int | None = 0) -> str:
    """What `cecochat` with these words prints, where it ends with `code`; None: with any."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    process = await asyncio.create_subprocess_exec(
        CECOCHAT, *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT, env=inherited | operators.SETTING | dict(environment),
    )  # fmt: skip
    out, _ = await process.communicate()
    said = out.decode()
    assert code is None or process.returncode == code, said
    return said
