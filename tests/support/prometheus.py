"""A Prometheus of a test's own, with the project's alerts, which do not wait for long."""

from __future__ import annotations

import asyncio
import json
import random
import re
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support import operators
from tests.support.eventually import eventually
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
    authorization:
      credentials_file: token
    file_sd_configs:
      - files: [targets.json]
"""
SPEED = 5
"""It scrapes every second, where prometheus.yml says every five."""
LOOK_EVERY_S = 1.0


def hastened(rules: str) -> str:
    """The rules with a second for each `for`, and with ranges and offsets of minutes so much
    shorter that they hold as many samples. Thresholds stay.
    """

    def shorter(found: re.Match[str]) -> str:
        return f"{found[1]}{int(found[2]) * 60 // SPEED}s"

    return re.sub(r"(\[|offset )(\d+)m\b", shorter, re.sub(r"\bfor: \w+", "for: 1s", rules))


@dataclass(frozen=True)
class Prometheus:
    url: str

    async def get(self, path: str) -> Any:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            answer = await client.get(f"{self.url}/api/v1/{path}")
        return answer.raise_for_status().json()["data"]

    async def firing(self) -> set[str]:
        """The names of the alerts that fire now."""
        alerts = (await self.get("alerts"))["alerts"]
        return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}

    async def until_firing(self, *names: str, within_s: float = 60.0) -> None:
        """Until each of them has fired, maybe not all at once."""
        missing = set(names)

        async def fired() -> bool:
            missing.difference_update(await self.firing())
            return not missing

        try:
            await eventually(fired, within_s, every_s=0.5)
        except AssertionError as error:
            raise AssertionError(f"not firing: {', '.join(sorted(missing))}") from error

    async def until_silent(self, *names: str) -> None:
        """Until none of them fires."""

        async def silent() -> bool:
            return not set(names) & await self.firing()

        await eventually(silent, within_s=60, every_s=0.5)

    async def up(self) -> int:
        """How many targets answer."""
        targets = (await self.get("targets"))["activeTargets"]
        return sum(each["health"] == "up" for each in targets)


@asynccontextmanager
async def watching(
    program: str, folder: Path, environment: Mapping[str, str], count: int
) -> AsyncIterator[Prometheus]:
    """One that scrapes the servers that Consul knows, from when `count` of them answer."""
    _write(folder)
    async with asyncio.TaskGroup() as group, _running(program, folder) as found:
        following = group.create_task(_follow(folder / "targets.json", environment))
        await eventually(lambda: _all_up(found, count), within_s=60, every_s=0.2)
        yield found
        following.cancel()


def _write(folder: Path) -> None:
    folder.mkdir()
    (folder / "prometheus.yml").write_text(CONFIGURATION)
    (folder / "token").write_text(operators.token("metrics"))
    (folder / "rules.yml").write_text(hastened(RULES.read_text()))


@asynccontextmanager
async def _running(program: str, folder: Path) -> AsyncIterator[Prometheus]:
    address = f"127.0.0.1:{random.choice(FREE)}"
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(program, f"--config.file={folder / 'prometheus.yml'}"),
            *(f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={address}"),
            stdin=DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield Prometheus(f"http://{address}")
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def _all_up(found: Prometheus, count: int) -> bool:
    try:
        return await found.up() == count
    except httpx.HTTPError:
        return False


async def _follow(file: Path, environment: Mapping[str, str]) -> None:
    """List what Consul knows, as Prometheus does where it is built to ask it: while Consul does
    not answer, what it said last.
    """
    url = f"http://{environment['CECOCHAT_CONSUL']}/v1/agent/services"
    async with httpx.AsyncClient(trust_env=False) as client:
        while True:
            with suppress(httpx.HTTPError):
                known = (await client.get(url)).raise_for_status().json()
                beside = file.with_suffix(".new")
                beside.write_text(json.dumps(_targets(known, environment["CECOCHAT_NAMESPACE"])))
                beside.replace(file)
            await asyncio.sleep(LOOK_EVERY_S)


def _targets(known: Mapping[str, Any], namespace: str) -> list[dict[str, Any]]:
    """With the labels that prometheus.yml gives them."""
    return [
        {
            "targets": [entry["Meta"]["health"]],
            "labels": {
                "instance": entry["Meta"]["instance_id"],
                "service": entry["Service"].removeprefix(f"{namespace}-"),
                "namespace": namespace,
            },
        }
        for entry in known.values()
        if entry["Service"].startswith(f"{namespace}-") and "health" in entry["Meta"]
    ]
