"""With whose rights a job of ours runs, on a real Nomad with the driver that is its default."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.backends import Backends
from tests.support.eventually import eventually
from tests.support.nomad import agent

JOB = Path(__file__).parents[2] / "jobs" / "control.nomad.hcl"
STDOUT = {"task": "control", "type": "stdout", "plain": "true"}
PROGRAM = "#!/bin/sh\nid -un\nexec sleep 600\n"


@pytest.fixture
def program() -> Iterator[Path]:
    """Says whose rights it has; a folder of pytest is its owner's alone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        file = Path(folder) / "whoami"
        file.write_text(PROGRAM)
        file.chmod(0o755)
        yield file


@pytest.mark.skipif(os.geteuid() != 0, reason="run it as root: the agent changes the user")
@pytest.mark.parametrize("user", ["nobody", ""])
async def test_a_job_has_the_rights_of_its_user(
    user: str, program: Path, tmp_path: Path, backends: Backends
) -> None:
    consul = backends.address("consul")
    async with agent(backends.program("nomad"), tmp_path, consul) as started:
        words = ("-detach", "-var", f"user={user}", "-var", f"command={program}")
        await asyncio.to_thread(started.run, "job", "run", *words, str(JOB))

        async def said() -> list[str]:
            found = await started.get("job/cecochat-control/allocations")
            urls = [f"http://{started.address}/v1/client/fs/logs/{each['ID']}" for each in found]
            async with httpx.AsyncClient(trust_env=False) as client:
                logs = [await client.get(url, params=STDOUT) for url in urls]
            return [log.text.strip() for log in logs if log.is_success and log.text]

        await eventually(said, within_s=60, every_s=0.2)
        assert set(await said()) == {user or "root"}
