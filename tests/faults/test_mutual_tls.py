"""A cluster whose servers talk to each other over mutual TLS: all goes on as without."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.faults.test_cluster import all_back, talking
from tests.support.certificates import certificates
from tests.support.eventually import eventually
from tests.support.processes import processes
from tests.support.server import command

COUNTS = {"control": 1, "messaging": 2, "materialize": 1, "history": 1, "connect": 1}


@pytest.mark.timeout(300)
async def test_people_chat_and_control_moves_what_a_dead_server_had(
    on_real: dict[str, str], tmp_path: Path, rng: Random
) -> None:
    signed = certificates(tmp_path / "ours")
    signed.key_file.chmod(0o600)
    tls = {
        f"CECOCHAT_INTERNAL_{name}_FILE": str(file)
        for name, file in zip(("CA", "CERT", "KEY"), signed, strict=True)
    }
    settings = on_real | tls
    async with processes(tmp_path, settings, COUNTS) as cluster, talking(cluster, rng) as crowd:
        for server in cluster.servers.values():
            assert server.ready["health_url"].startswith("https://")

        async def well() -> bool:
            said = await command(settings, "status", code=None)
            return "WRONG" not in said and "owned" in said

        await eventually(well, within_s=60, every_s=0.5)
        refused = await command(on_real, "status", code=None)
        assert "does not answer" in refused, "without a certificate"
        await cluster.servers["messaging-1"].kill()
        other = cluster.servers["messaging-2"].instance_id

        async def moved() -> bool:
            return set((await cluster.owners()).values()) == {other}

        await eventually(moved, within_s=60, every_s=0.2)
        await all_back(crowd)
