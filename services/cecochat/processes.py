"""One process a server, on this machine: what `cecochat up --processes` runs."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, fields

from cecochat.domain.errors import InvalidSettings
from cecochat.ports.discovery import Instance, Service
from cecochat.runtime.settings import PREFIX, Settings, as_environment
from cecochat.system import Addresses

log = logging.getLogger(__name__)

COUNTS: dict[Service, int] = {
    "history": 2,
    "materialize": 2,
    "messaging": 2,
    "control": 1,
    "connect": 1,
}
"""How many of each run unless it is said. They are stopped in the opposite order: nobody is sent to
a server that stops, and control does not move what is about to end.
"""

READY_WITHIN_S = 120.0
STOPPED_WITHIN_S = 30.0
AGAIN_AFTER_S = 1.0  # a server that dies at once is not started in a busy loop


@dataclass
class Child:
    """A server's process, and the next one where it ends before it is told to."""

    name: str  # messaging-1
    service: Service
    environment: Mapping[str, str]
    process: Process | None = None
    instance: Instance | None = None

    async def start(self) -> None:
        """Returns once it is ready. Raises `InvalidSettings` where it ends before."""
        self.process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cecochat", "serve", self.service, "--json", "--attached"),
            stdin=PIPE,  # its end tells the child that this process is gone
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
        raise InvalidSettings(f"{self.name} did not become ready: it says why above")

    async def keep(self) -> None:
        """Start it again whenever it ends, until cancelled."""
        while True:
            assert self.process
            code = await self.process.wait()
            log.warning("%s (pid %s) ended with %s: starting it again", self.name, self.pid, code)
            await asyncio.sleep(AGAIN_AFTER_S)
            try:
                await self.start()
            except InvalidSettings as error:
                log.error("%s", error)
                await self.stop()

    async def stop(self) -> None:
        """Let it drain and end."""
        process = self.process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOPPED_WITHIN_S):
                await process.wait()
        except TimeoutError:
            log.warning("%s did not stop within %s s: killed", self.name, STOPPED_WITHIN_S)
            process.kill()
            await process.wait()

    @property
    def pid(self) -> int:
        """Of the process that was started last."""
        assert self.process
        return self.process.pid


@asynccontextmanager
async def started(settings: Settings, counts: Mapping[Service, int]) -> AsyncIterator[Addresses]:
    """So many servers of each kind, ready, each started again should it end; leaving the context
    stops them.
    """
    begun_s = time.monotonic()
    environment = dict(os.environ) | as_environment(settings)
    children = [
        Child(f"{service}-{number}", service, {**environment, **_ports(settings, service, number)})
        for service, count in counts.items()
        for number in range(1, count + 1)
    ]
    try:
        async with asyncio.TaskGroup() as group:
            for child in children:
                group.create_task(child.start())
        async with asyncio.TaskGroup() as group:
            kept = [group.create_task(child.keep()) for child in children]
            yield _addresses(settings, children, time.monotonic() - begun_s)
            for task in kept:
                task.cancel()
    finally:
        await _stop(children)


async def _stop(children: list[Child]) -> None:
    for service in reversed(COUNTS):
        async with asyncio.TaskGroup() as group:
            for child in children:
                if child.service == service:
                    group.create_task(child.stop())


def _ports(settings: Settings, service: Service, number: int) -> dict[str, str]:
    """The first connect and control servers have known ports; all else takes any free one."""
    ports = {f.name: 0 for f in fields(Settings) if f.name.endswith("_port")}
    if number == 1 and service in ("connect", "control"):
        name = f"{service}_port"
        ports[name] = getattr(settings, name)
    return {f"{PREFIX}{name.upper()}": str(port) for name, port in ports.items()}


def _addresses(settings: Settings, children: list[Child], took_s: float) -> Addresses:
    known = {child.name: child.instance for child in children if child.instance}
    return Addresses(
        connect=known["connect-1"].health_url,
        messaging=known["messaging-1"].address,
        history=known["history-1"].address,
        health={name: instance.health_url for name, instance in known.items()},
        data=str(settings.data_dir),
        pid=os.getpid(),
        token_secret_file=str(settings.secret_file) if settings.secret_file else None,
        started_in_s=round(took_s, 3),
        processes={child.name: child.pid for child in children},
    )
