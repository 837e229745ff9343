"""Nomad agents, server and client in one or a client alone, that are gone with the test."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.eventually import eventually
from tests.support.server import FREE

READY_WITHIN_S = 60.0


@dataclass(frozen=True)
class Agent:
    """`address`, `rpc`: host:port of its HTTP API, and of what its clients connect to."""

    program: str
    name: str
    address: str
    rpc: str
    folder: Path

    def run(self, *words: str) -> str:
        """The output of a command of it."""
        return self.command([self.program, *words])

    def command(self, words: Sequence[str], code: int = 0) -> str:
        """The output of a program that ends with `code`; it finds this agent."""
        done = subprocess.run(
            words,
            env={
                **os.environ,
                "NOMAD_ADDR": f"http://{self.address}",
                "CECOCHAT_NOMAD": self.address,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    async def get(self, path: str) -> Any:
        """What its API tells at /v1/`path`."""
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"http://{self.address}/v1/{path}")
        return answer.raise_for_status().json()

    async def node(self, name: str) -> Any:
        """The node of that name, as its server lists it. Raises KeyError."""
        return {node["Name"]: node for node in await self.get("nodes")}[name]

    async def running(self) -> list[Any]:
        """Allocations that run, or are about to, of all jobs and nodes."""
        found = await self.get("allocations")
        return [each for each in found if each["ClientStatus"] in ("pending", "running")]

    async def told_to_stop(self, job: str, since_s: float) -> list[float]:
        """When, in s of Unix time, it told the servers of a job to stop, from then on."""
        allocations = await self.get(f"job/{job}/allocations")
        tasks = [task for each in allocations for task in (each["TaskStates"] or {}).values()]
        events = [event for task in tasks for event in task["Events"]]
        told_s = [event["Time"] / 1e9 for event in events if event["Type"] == "Killing"]
        return sorted(each for each in told_s if each >= since_s)


@asynccontextmanager
async def agent(
    program: str, folder: Path, consul: str | None = None, more: str = ""
) -> AsyncIterator[Agent]:
    """Ready to run jobs; its jobs end with it. `consul`: the address of an agent of that. `more`:
    of its configuration.
    """
    async with _started(program, folder, "first", consul, ["-dev"], more) as started:
        try:
            yield started
        finally:
            await _end_jobs(started)


@asynccontextmanager
async def second_node(first: Agent, folder: Path, consul: str) -> AsyncIterator[Agent]:
    """One more client of `first`. `consul`: an agent of its own; Nomad's clients share none."""
    settings = """
        plugin "raw_exec" { config { enabled = true } }
        client {
          min_dynamic_port = 32001
          max_dynamic_port = 32700
        }
        advertise {
          http = "127.0.0.1"
          rpc  = "127.0.0.1"
          serf = "127.0.0.1"
        }
        """
    words = ["-client", f"-servers={first.rpc}"]
    async with _started(first.program, folder, "second", consul, words, settings) as started:
        yield started


@asynccontextmanager
async def _started(
    program: str, folder: Path, name: str, consul: str | None, words: list[str], more: str
) -> AsyncIterator[Agent]:
    http, rpc, serf = random.sample(FREE, 3)
    folder = folder / f"nomad-{name}"
    folder.mkdir()
    file = folder / "agent.hcl"
    ports = f"ports {{\n  http = {http}\n  rpc = {rpc}\n  serf = {serf}\n}}\n"
    file.write_text(f'name = "{name}"\n{ports}{more}')
    words = [*words, "-bind=127.0.0.1", f"-config={file}"]
    words += [] if "-dev" in words else [f"-data-dir={folder / 'data'}"]
    words += [f"-consul-address={consul}"] if consul else []
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program, "agent", *words, stdin=DEVNULL, stdout=log, stderr=log, cwd=folder
        )
    started = Agent(program, name, f"127.0.0.1:{http}", f"127.0.0.1:{rpc}", folder)
    try:
        await eventually(lambda: _ready(started), READY_WITHIN_S, 0.2)
        yield started
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            await process.wait()
        unmount(folder)


def unmount(folder: Path) -> None:
    """What an agent leaves: a file system in memory for the secrets of each allocation."""
    for line in Path("/proc/mounts").read_text().splitlines():
        if (mounted := line.split()[1]).startswith(f"{folder}/"):
            subprocess.run(["umount", mounted], check=True)


async def _ready(started: Agent) -> bool:
    try:
        return bool((await started.node(started.name))["Status"] == "ready")
    except (httpx.HTTPError, ValueError, KeyError):
        return False


async def _end_jobs(started: Agent) -> None:
    """An agent that ends leaves what runs in the driver raw_exec behind."""
    async with httpx.AsyncClient(trust_env=False, base_url=f"http://{started.address}") as client:
        for job in (await client.get("/v1/jobs")).json():
            await client.delete(f"/v1/job/{job['ID']}")

    async def ended() -> bool:
        return not await started.running()

    await eventually(ended, READY_WITHIN_S, 0.2)
