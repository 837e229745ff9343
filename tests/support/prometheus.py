"""A Prometheus of a test's own, with the project's alerts, which do not wait for long."""

from __future__ import annotations

import asyncio
import json
import random
import re
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.eventually import eventually
from tests.support.processes import Processes
from tests.support.server import FREE

RULES = Path(__file__).parents[2] / "observability" / "rules.yml"
CONFIGURATION = """
global:
  scrape_interval: 1s
  scrape_timeout: 900ms
  evaluation_interval: 1s
rule_files: [rules.yml]
scrape_configs:
  - job_name: cecochat
    file_sd_configs:
      - files: [targets.json]
"""


@dataclass(frozen=True)
class Prometheus:
    url: str

    async def get(self, path: str) -> Any:
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"{self.url}/api/v1/{path}")
        return answer.raise_for_status().json()["data"]

    async def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        alerts = (await self.get("alerts"))["alerts"]
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

    async def until_firing(self, *names: str, within_s: float = 60.0) -> None:
        async def fire() -> bool:
            return set(names) <= await self.firing()

        await eventually(fire, within_s, every_s=0.5)

    async def up(self) -> int:
        """How many targets answer."""
        targets = (await self.get("targets"))["activeTargets"]
        return sum(each["health"] == "up" for each in targets)


@asynccontextmanager
async def watching(program: str, folder: Path, cluster: Processes) -> AsyncIterator[Prometheus]:
    """One that scrapes the servers of a cluster as they are now."""
    _write(folder, cluster)
    port = random.choice(FREE)
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(program, f"--config.file={folder / 'prometheus.yml'}"),
            *(f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{port}"),
            stdin=DEVNULL,
            stdout=log,
            stderr=log,
        )
    found = Prometheus(f"http://127.0.0.1:{port}")
    try:
        await eventually(lambda: _all_up(found, len(cluster.servers)), within_s=60, every_s=0.2)
        yield found
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def _write(folder: Path, cluster: Processes) -> None:
    folder.mkdir()
    (folder / "prometheus.yml").write_text(CONFIGURATION)
    (folder / "rules.yml").write_text(re.sub(r"\bfor: \w+", "for: 1s", RULES.read_text()))
    (folder / "targets.json").write_text(json.dumps(_targets(cluster)))


async def _all_up(found: Prometheus, count: int) -> bool:
    try:
        return await found.up() == count
    except httpx.HTTPError:
        return False


def _targets(cluster: Processes) -> list[dict[str, Any]]:
    namespace = cluster.environment["CECOCHAT_NAMESPACE"]
    return [
        {
            "targets": [server.ready["health_url"].removeprefix("http://")],
            "labels": {
                "instance": server.instance_id,
                "service": server.service,
                "namespace": namespace,
            },
        }
        for server in cluster.servers.values()
    ]
