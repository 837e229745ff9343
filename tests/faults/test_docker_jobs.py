"""The five jobs with the driver docker: the image under Nomad, while people talk."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from tests.support import containers, operators, shared
from tests.support.backends import Backends
from tests.support.deployed import Deployed
from tests.support.eventually import eventually
from tests.support.listeners import kill
from tests.support.nomad import agent
from tests.support.scenarios import lose_a_server
from tests.support.server import NO_LIMITS

IMAGES_STAY = """
    plugin "docker" {
      config {
        volumes { enabled = true }
        gc { image = false }
      }
    }
    """
USER = 10_001
"""Of the image."""

pytestmark = [
    pytest.mark.timeout(1_200),
    pytest.mark.skipif(os.geteuid() != 0, reason="run it as root: files change their owner"),
]


@pytest.fixture
async def deployed(
    on_real: dict[str, str], image: str, backends: Backends, tmp_path: Path
) -> AsyncIterator[Deployed]:
    program = backends.program("nomad")
    secrets, data = operators.SECRET_FILE.parent, tmp_path / "data"
    data.mkdir()
    for path in (secrets, operators.SECRET_FILE, data):
        os.chown(path, USER, USER)
    driver: dict[str, str | list[str]] = {
        "driver": "docker",
        "image": image,
        "volumes": [f"{data}:{data}", f"{secrets}:{secrets}:ro"],
    }
    environment = on_real | {"CECOCHAT_DATA_DIR": str(data)}
    async with agent(program, tmp_path, on_real["CECOCHAT_CONSUL"], IMAGES_STAY) as started:
        found = Deployed(started, environment, tmp_path, driver=driver)
        await shared.configure(environment, NO_LIMITS)
        print(await asyncio.to_thread(found.deploy, "1"))
        await eventually(lambda: shared.settled(environment, 2), within_s=60, every_s=0.2)
        yield found


async def test_the_servers_are_containers_that_lose_nothing(
    deployed: Deployed, rng: Random, image: str
) -> None:
    ours = containers.docker("ps", "--quiet", f"--filter=ancestor={image}").split()
    asked = "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}}"
    assert len(ours) == 10, "two of each kind"
    told = containers.docker("inspect", f"--format={asked}", *ours).splitlines()
    assert set(told) == {"10001:10001 true [all]"}
    async with deployed.talking(rng) as (crowd, _):
        figures = await lose_a_server(deployed.environment, crowd, rng, kill)
        await asyncio.to_thread(deployed.deploy, "2")
    print(figures)
