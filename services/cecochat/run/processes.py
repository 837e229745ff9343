"""Runs each server in a process of its own on this machine, for `cecochat up --processes`."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, fields

from typing_extensions import override

from cecochat.domain.errors import CannotScale, InvalidSettings, Unavailable
from cecochat.ports.deployment import Allocation, Limits, ServerSet, Status
from cecochat.ports.discovery import Instance, Service
from cecochat.run import stack
from cecochat.run.system import Addresses
from cecochat.settings.settings import PREFIX, Settings, as_environment

log = logging.getLogger(__name__)

COUNTS: dict[Service, int] = {
    "history": 2,
    "materialize": 2,
    "hooks": 1,
    "messaging": 2,
    "control": 1,
    "connect": 1,
}
"""How many servers of each kind run by default.

They are stopped in the opposite order: connect goes first, so that it sends nobody to a server that
stops, and then control, so that it does not move what is about to end.
"""

PROGRAM = (sys.executable, "-m", "cecochat", "serve")
SERVERS_MAX = 16  # servers in one set on one machine
READY_WITHIN_S = 120.0
STOPPED_WITHIN_S = 30.0
AGAIN_AFTER_S = 1.0  # so that a server that dies at once is not started in a busy loop


@dataclass
class Child:
    """A server's process, which is started again if it ends before it is told to."""

    name: str  # such as messaging-1
    service: Service
    environment: Mapping[str, str]
    program: Sequence[str]
    process: Process | None = None
    instance: Instance | None = None
    unwanted: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        """Start the process and wait until it is ready. Raises `InvalidSettings` if it fails."""
        self.instance = None
        try:
            await self._start()
        except (OSError, ValueError, TypeError) as error:
            raise InvalidSettings(f"{self.name} cannot be started: {error!r}") from error

    async def _start(self) -> None:
        self.process = process = await asyncio.create_subprocess_exec(
            *(*self.program, self.service, "--json", "--attached"),
            stdin=PIPE,  # it closes when this process dies, and so tells the child to stop
            stdout=PIPE,
            env=self.environment,
            start_new_session=True,  # Ctrl-C is for this process, which stops them in order
        )
        assert process.stdout
        with suppress(TimeoutError):
            async with asyncio.timeout(READY_WITHIN_S):
                if line := await process.stdout.readline():
                    self.instance = Instance(**json.loads(line))
                    return
        raise InvalidSettings(f"{self.name} did not become ready: its log above says why")

    async def keep(self) -> None:
        """Start the server again whenever it ends, until it is no longer wanted."""
        while not self.unwanted.is_set():
            try:
                if self.process is None or self.process.returncode is not None:
                    await self.start()
            except InvalidSettings as error:
                log.error("%s", error)
                await self.stop()
            if self.unwanted.is_set():  # while it started
                await self.stop()
            code = await self.process.wait() if self.process else None
            if not self.unwanted.is_set():
                log.warning(
                    "%s (%s) ended with exit code %s: starting it again",
                    self.name,
                    self.where,
                    code,
                )
                await asyncio.sleep(AGAIN_AFTER_S)

    async def stop(self) -> None:
        """Stop the process in order, or kill it if that takes too long."""
        process = self.process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOPPED_WITHIN_S):
                await process.wait()
        except TimeoutError:
            log.warning("%s did not stop within %s s: killing it", self.name, STOPPED_WITHIN_S)
            process.kill()
            await process.wait()

    async def leave(self) -> None:
        """Stop the server for good."""
        self.unwanted.set()
        await self.stop()

    @property
    def pid(self) -> int:
        """The id of the process that was started last."""
        assert self.process
        return self.process.pid

    @property
    def where(self) -> str:
        """Where the server runs, for messages."""
        return f"pid {self.process.pid}" if self.process else "no process"

    def allocation(self) -> Allocation:
        """Return this server as the deployment port describes it."""
        status: Status = "pending"
        if self.process and self.process.returncode is not None:
            status = "failed"
        elif self.instance:
            status = "running"
        version = self.instance.version if self.instance else ""
        return Allocation(self.name, status, version, self.where)


class Processes(stack.Stack):
    """The server sets of this machine, which may grow and shrink.

    `fixed` holds the sizes of the sets that a person has chosen.
    """

    def __init__(
        self, settings: Settings, fixed: Mapping[Service, int], program: Sequence[str] = PROGRAM
    ) -> None:
        self.children: dict[Service, list[Child]] = {service: [] for service in COUNTS}
        self.environment: dict[str, str] = dict(os.environ) | as_environment(settings)
        self._settings = settings
        self._fixed = fixed
        self._program = program
        self._group = asyncio.TaskGroup()
        self._started = False

    @override
    def state(self, service: Service) -> ServerSet:
        children = self.children[service]
        fixed = self._fixed.get(service)
        limits = Limits(fixed, fixed) if fixed else Limits(1, SERVERS_MAX)
        return ServerSet(len(children), limits, tuple(child.allocation() for child in children))

    @override
    def scale(self, service: Service, count: int, reason: str) -> None:
        if not self._started:
            raise Unavailable("the servers of this machine are still being started: try again")
        limits = self.state(service).limits
        if not limits.min <= count <= limits.max:
            raise CannotScale(
                f"{count} {service} servers cannot be run: this machine's `cecochat up` runs "
                f"{limits.min} to {limits.max} of them"
            )
        children = self.children[service]
        if count != len(children):
            log.info("scaling %s from %s to %s servers: %s", service, len(children), count, reason)
        while len(children) > count:
            self._group.create_task(children.pop().leave())
        while len(children) < count:
            self._group.create_task(self._add(service).keep())

    def _add(self, service: Service) -> Child:
        children = self.children[service]
        number = int(children[-1].name.rpartition("-")[2]) + 1 if children else 1
        ports = _ports(self._settings, service, number) | _edge(self._settings, service, number)
        child = Child(f"{service}-{number}", service, self.environment | ports, self._program)
        children.append(child)
        return child

    @asynccontextmanager
    async def running(self, counts: Mapping[Service, int]) -> AsyncIterator[None]:
        """Run so many servers of each kind; the block begins when they are ready.

        A server that ends is started again. Leaving the block stops all of them. Raises
        `InvalidSettings` if one does not start.
        """
        try:
            async with asyncio.TaskGroup() as starting:
                for service, count in counts.items():
                    for _ in range(count):
                        starting.create_task(self._add(service).start())
            async with self._group:
                for child in self.all():
                    self._group.create_task(child.keep())
                self._started = True
                yield
                await self._stop()
        finally:
            await self._stop()

    def all(self) -> list[Child]:
        """Return every server that is wanted."""
        return [child for children in self.children.values() for child in children]

    async def _stop(self) -> None:
        for service in reversed(COUNTS):
            async with asyncio.TaskGroup() as group:
                for child in self.children[service]:
                    group.create_task(child.leave())


@asynccontextmanager
async def started(
    settings: Settings, counts: Mapping[Service, int], fixed: Mapping[Service, int]
) -> AsyncIterator[Addresses]:
    """Run so many servers of each kind. Control may change all numbers that are not `fixed`.

    Raises `InvalidSettings`.
    """
    begun_s = time.monotonic()
    servers = Processes(settings, fixed)
    async with stack.serving(servers) as address:
        servers.environment[f"{PREFIX}STACK"] = address
        async with servers.running(counts):
            children = servers.all()
            known = {child.name: child.instance for child in children if child.instance}
            pids = {child.name: child.pid for child in children}
            yield Addresses.of(settings, known, time.monotonic() - begun_s, pids)


def _ports(settings: Settings, service: Service, number: int) -> dict[str, str]:
    """The first connect and control servers have fixed ports; the others take any free ones."""
    ports = {f.name: 0 for f in fields(Settings) if f.name.endswith("_port")}
    fixed = [name for name in ports if name.startswith(("connect_", "control_"))]
    if number == 1:
        ports |= {name: getattr(settings, name) for name in fixed if name.startswith(service)}
    return {f"{PREFIX}{name.upper()}": str(port) for name, port in ports.items()}


def _edge(settings: Settings, service: Service, number: int) -> dict[str, str]:
    """Each messaging server has a port of its own at the edge, one after the other."""
    if not settings.edge or service != "messaging":
        return {}
    host, _, port = settings.edge.rpartition(":")
    return {f"{PREFIX}EDGE": f"{host}:{int(port) + number - 1}"}
