"""The deployment of `cecochat up --processes`, with programs that do nothing for servers."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

from cecochat.adapters.local.deployment import LocalDeployment
from cecochat.ports.deployment import Deployment
from cecochat.run import stack
from cecochat.run.processes import Processes
from tests.contract.openers import Place
from tests.integration.systems import settings

IDLE = Path(__file__).with_name("idle.py")


async def deployment(place: Place, opened: AsyncExitStack) -> Deployment:
    servers = Processes(settings(place.folder), {}, (sys.executable, str(IDLE)))
    address = await opened.enter_async_context(stack.serving(servers))
    await opened.enter_async_context(servers.running({"messaging": 1}))
    return await opened.enter_async_context(aclosing(LocalDeployment(address)))
