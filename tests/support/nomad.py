"""A Nomad agent, server and client in one, that is gone with the test."""

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

import httpx

from tests.support.eventually import eventually
from tests.support.server import FREE

READY_WITHIN_S = 60.0


@dataclass(frozen=True)
class Agent:
    """`address`: host:port of its HTTP API."""

    program: str
    address: str
    folder: Path

    def run(self, *words: str) -> str:
        """The output of a command of it."""
        return self.command([self.program, *words], NOMAD_ADDR=f"http://{self.address}")

    def command(self, words: Sequence[str], **environment: str) -> str:
        """The output of a program that succeeds."""
        done = subprocess.run(
            words,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@asynccontextmanager
async def agent(program: str, folder: Path, consul: str | None = None) -> AsyncIterator[Agent]:
    """Ready to run jobs; its jobs end with it. `consul`: the address of an agent of that."""
    http, rpc, serf = random.sample(FREE, 3)
    folder = folder / "nomad"
    folder.mkdir()
    file = folder / "agent.hcl"
    file.write_text(f"ports {{\n  http = {http}\n  rpc = {rpc}\n  serf = {serf}\n}}\n")
    words = ["agent", "-dev", "-bind=127.0.0.1", f"-config={file}"]
    words += [f"-consul-address={consul}"] if consul else []
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program, *words, stdin=DEVNULL, stdout=log, stderr=log, cwd=folder
        )
    started = Agent(program, f"127.0.0.1:{http}", folder)
    try:
        await eventually(lambda: _ready(started), READY_WITHIN_S, 0.2)
        yield started
    finally:
        await _end_jobs(started)
        process.send_signal(signal.SIGINT)
        await process.wait()


async def _ready(started: Agent) -> bool:
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            nodes = (await client.get(f"http://{started.address}/v1/nodes")).json()
        return any(node["Status"] == "ready" for node in nodes)
    except (httpx.HTTPError, ValueError):
        return False


async def _end_jobs(started: Agent) -> None:
    """An agent that ends leaves what runs in the driver raw_exec behind."""
    async with httpx.AsyncClient(trust_env=False, base_url=f"http://{started.address}") as client:
        for job in (await client.get("/v1/jobs")).json():
            await client.delete(f"/v1/job/{job['ID']}")

        async def ended() -> bool:
            found = (await client.get("/v1/allocations")).json()
            return all(each["ClientStatus"] not in ("pending", "running") for each in found)

        await eventually(ended, READY_WITHIN_S, 0.2)
