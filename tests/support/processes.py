"""A cluster as child processes, one a server: `cecochat serve ...`, each started, killed, paused
and started again by a test.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from cecochat.settings.settings import load
from tests.support import operators, shared
from tests.support.eventually import eventually
from tests.support.records import SERVER, Record, ServerDied, ServerReady, ServerSignalled
from tests.support.server import NO_LIMITS, PREFIX, DidNotStart, free_ports

ROOT = Path(__file__).parents[2]
READY_WITHIN_S = 90.0
STOPPED_WITHIN_S = 60.0
COUNTS = {"control": 1, "messaging": 2, "materialize": 2, "history": 2, "connect": 1}


@dataclass
class ServerProcess:
    """One server: at most one process at a time."""

    name: str
    folder: Path
    environment: Mapping[str, str]
    record: Record
    ready: dict[str, Any] = field(default_factory=dict)  # as it says of itself
    process: Process | None = None

    @property
    def service(self) -> str:
        return self.name.partition("-")[0]

    @property
    def pid(self) -> int:
        assert self.process is not None, f"{self.name} is not started"
        return self.process.pid

    @property
    def instance_id(self) -> str:
        return str(self.ready["instance_id"])

    @property
    def said(self) -> str:
        """What it wrote to standard error, over all starts."""
        return (self.folder / f"{self.name}.log").read_text(errors="replace")

    async def start(self, failpoint: str = "") -> None:
        """Returns once it is ready. Raises `DidNotStart`. `failpoint`: when it will be killed, as
        tests/support/failpoints.py says.
        """
        program = "tests.support.failpoints" if failpoint else "cecochat"
        with (self.folder / f"{self.name}.log").open("ab") as errors:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", program, "serve", self.service, "--json"),
                stdin=DEVNULL,
                stdout=PIPE,
                stderr=errors,
                env={**self.environment, "FAILPOINT": failpoint},
                cwd=ROOT,
            )
        assert self.process.stdout is not None, "a pipe was asked for"
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                self.ready = json.loads(await self.process.stdout.readline())
        except (TimeoutError, ValueError) as error:
            if self.process.returncode is None:
                self.process.send_signal(signal.SIGABRT)  # stacks of its threads go to the log
            await self.process.wait()
            raise DidNotStart(f"{self.name}: {self.said[-3_000:]}") from error
        self.record.add(SERVER, 0, ServerReady(self.pid))

    async def ended(self) -> int:
        """The return code, once it ends by itself."""
        assert self.process is not None, f"{self.name} is not started"
        return_code = await self.process.wait()
        self.record.add(SERVER, 0, ServerDied(self.pid, return_code))
        return return_code

    async def kill(self) -> int:
        """SIGKILL; returns the return code once it is dead."""
        return await self._end(signal.SIGKILL)

    async def terminate(self) -> int:
        """SIGTERM, as a deployment stops it: drain, then end."""
        return await self._end(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: it does nothing, and its connections stay open."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None, f"{self.name} is not started"
        self.record.add(SERVER, 0, ServerSignalled(self.pid, number.name))
        self.process.send_signal(number)

    async def _end(self, number: signal.Signals) -> int:
        assert self.process is not None, f"{self.name} is not started"
        if self.process.returncode is None:
            self._signal(number)
        async with asyncio.timeout(STOPPED_WITHIN_S):
            return await self.ended()

    async def release(self) -> None:
        """End what is left of it; that is no part of the run."""
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            await self.process.wait()


@dataclass
class Processes:
    """The servers of one namespace, by name: `messaging-1` and so on."""

    folder: Path
    environment: Mapping[str, str]  # where the backends are, and the namespace
    record: Record = field(default_factory=Record)
    servers: dict[str, ServerProcess] = field(default_factory=dict)
    ports: Mapping[str, str] = field(default_factory=lambda: free_ports())

    @property
    def secret_file(self) -> Path:
        return self.folder / "data" / "token-secret"

    @property
    def connect_url(self) -> str:
        """Its port is the same over restarts, so that clients can have it in their settings."""
        return f"http://127.0.0.1:{self.ports['CECOCHAT_CONNECT_PORT']}"

    def of(self, service: str) -> list[ServerProcess]:
        return [each for each in self.servers.values() if each.service == service]

    async def start(self, counts: Mapping[str, int]) -> None:
        """All at once, as a deployment does; returns when every partition has a live owner."""
        async with asyncio.TaskGroup() as group:
            for service, count in counts.items():
                for number in range(1, count + 1):
                    group.create_task(self.add(f"{service}-{number}"))
        await self.until_owned()

    async def add(self, name: str) -> ServerProcess:
        """Start one more server."""
        first = name.endswith("-1")
        ports = self.ports if first else dict.fromkeys(self.ports, "0")
        environment = self._environment() | dict(ports)
        server = ServerProcess(name, self.folder, environment, self.record)
        self.servers[name] = server
        await server.start()
        return server

    async def until_owned(self) -> None:
        """Every partition is served by whom it is assigned to, as the messaging servers say."""

        tls = load(self.environment).internal_tls
        async with operators.client(verify=tls.client() if tls else True) as client:

            async def owned() -> bool:
                found: dict[str, str] = {}
                for server in self.of("messaging"):
                    found |= dict.fromkeys(await _owned(client, server), server.instance_id)
                return bool(found) and found == await self.owners()

            await eventually(owned, within_s=90, every_s=0.1)

    async def owners(self) -> dict[str, str]:
        """The assignment: partition -> instance id."""
        return await shared.owners(self.environment)

    async def configure(self, keys: Mapping[str, Any]) -> None:
        """Set keys of the central configuration."""
        await shared.configure(self.environment, keys)

    def _environment(self) -> dict[str, str]:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(PREFIX)
        }
        own = {
            f"{PREFIX}DATA_DIR": str(self.folder / "data"),
            "XDG_STATE_HOME": str(self.folder / "state"),
            "PYTHONFAULTHANDLER": "1",
            **operators.SETTING,
        }
        return inherited | own | dict(self.environment)


@asynccontextmanager
async def processes(
    folder: Path,
    environment: Mapping[str, str],
    counts: Mapping[str, int] | None = None,
    configuration: Mapping[str, Any] | None = None,
) -> AsyncIterator[Processes]:
    """A cluster that is ready, and that is gone afterwards whatever happens."""
    cluster = Processes(folder, environment)
    try:
        await cluster.configure({**NO_LIMITS, **(configuration or {})})
        await cluster.start(counts or COUNTS)
        yield cluster
    finally:
        async with asyncio.TaskGroup() as group:
            for server in cluster.servers.values():
                group.create_task(server.release())


async def _owned(client: httpx.AsyncClient, server: ServerProcess) -> list[str]:
    """The partitions that a messaging server owns; none if it is dead."""
    try:
        shown = await client.get(f"{server.ready['health_url']}/partitions")
    except httpx.HTTPError:
        return []
    return list(shown.json()["owned"])
