"""A Nomad agent of the test's own, and a job of it with programs that do nothing for servers."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path

from cecochat.adapters.nomad.deployment import NomadDeployment
from cecochat.ports.deployment import Deployment
from tests.contract.openers import Place
from tests.support.nomad import Agent, agent

IDLE = Path(__file__).with_name("idle.py")


async def deployment(place: Place, opened: AsyncExitStack) -> Deployment:
    program = place.backends.program("nomad")
    started = await opened.enter_async_context(agent(program, place.folder))
    await _register(started, place.namespace)
    return NomadDeployment(started.address, prefix=place.namespace)


async def _register(started: Agent, namespace: str) -> None:
    job = {
        "ID": f"{namespace}-messaging",
        "Name": f"{namespace}-messaging",
        "Type": "service",
        "Datacenters": ["*"],
        "TaskGroups": [
            {
                "Name": "messaging",
                "Count": 1,
                "Scaling": {"Enabled": True, "Min": 1, "Max": 8},
                "Tasks": [
                    {
                        "Name": "messaging",
                        "Driver": "raw_exec",
                        "Config": {"command": sys.executable, "args": [str(IDLE)]},
                        "KillSignal": "SIGTERM",
                        "Resources": {"CPU": 50, "MemoryMB": 50},
                    }
                ],
            }
        ],
    }
    file = started.folder / "job.json"
    file.write_text(json.dumps({"Job": job}))
    await asyncio.to_thread(started.run, "job", "run", "-json", str(file))
