"""SECURE=1: a real Nomad with the settings and the secrets of a test cluster, beside its Consul."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import ssl
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from random import sample
from typing import Any

import httpx
import pytest

from cecochat.adapters.nomad.deployment import NomadDeployment
from cecochat.cli.cluster.nomad import Jobs
from cecochat.domain.errors import CannotScale
from cecochat.settings.settings import Settings, load
from scripts.backends import places
from scripts.cluster import nomad, plan, ready, secure
from scripts.cluster.plan import Plan
from tests.conftest import backends_key
from tests.support.backends import Backends
from tests.support.eventually import eventually
from tests.support.nomad import unmount
from tests.support.secured import GUESTS, WITHIN_S, Secured, joined
from tests.support.server import FREE

HERE = "127.0.0.1"
NAME, ADDRESS = next(iter(GUESTS.items()))
JOB = """
job "cecochat-history" {
  datacenters = ["*"]
  group "history" {
    network {
      port "health" {}
    }
    service {
      name = "nomad-cecochat-history"
      port = "health"
    }
    task "history" {
      driver = "raw_exec"
      config {
        command = "sleep"
        args    = ["600"]
      }
      resources {
        cpu    = 10
        memory = 16
      }
    }
  }
}
"""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def program(backends: Backends) -> str:
    """On PATH, or where `make cluster-up` takes it from."""
    kept = places.cache().parent / "nomad" / "nomad"
    found = shutil.which("nomad") or (str(kept) if kept.exists() else None)
    return found or backends.absent("nomad")


@pytest.fixture(scope="module")
def secured(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Secured]:
    """The Consul that it registers with."""
    with joined(tmp_path_factory.mktemp("secured"), request.config.stash[backends_key]) as started:
        yield started


@pytest.fixture
def told(secured: Secured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a server of CecoChat; the agent beside it is told all, and does not run yet."""
    monkeypatch.setattr(plan, "NETWORK", ADDRESS.rpartition(".")[0])
    http, rpc, serf = sample(FREE, 3)
    here = Plan(1, 1, "no Kafka", secured=True)
    (tmp_path / "nomad.hcl").write_text(nomad.agent(here, tmp_path / "data", "lo"))
    for name, text in secure.files(secured.drawn.guests[NAME], tmp_path).items():
        (tmp_path / name).write_text(text)
    moved = {
        "bind_addr": ADDRESS,
        "addresses": {"http": HERE},
        "ports": {"http": http, "rpc": rpc, "serf": serf},
        "consul": {"address": secured.http_at(NAME)},
    }
    (tmp_path / "moved.json").write_text(json.dumps(moved))
    return load({**_settings(tmp_path), "CECOCHAT_NOMAD": f"{HERE}:{http}"})


@pytest.fixture
async def settings(program: str, told: Settings, tmp_path: Path) -> AsyncIterator[Settings]:
    """The same, beside an agent that is ready."""
    async with _agent(program, tmp_path, told):
        yield told
        async with _client(told) as client:
            for job in (await client.get("jobs")).json():
                await client.delete(f"job/{job['ID']}")
            await eventually(lambda: _ended(client), WITHIN_S, 0.2)


def _settings(folder: Path) -> dict[str, str]:
    """As /etc/cecochat/cluster.env has them, but for where the files are."""
    return {key: each.replace(plan.SECURE, str(folder)) for key, each in plan.SECURED.items()}


@asynccontextmanager
async def _agent(program: str, folder: Path, settings: Settings) -> AsyncIterator[None]:
    """Ready."""
    words = [f"-config={folder / name}" for name in ("nomad.hcl", "nomad.json", "moved.json")]
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            program, "agent", *words, stdin=DEVNULL, stdout=log, stderr=log, cwd=folder
        )
    try:
        async with _client(settings) as client:
            await eventually(lambda: _ready(client), WITHIN_S, 0.2)
        yield
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.wait()
        unmount(folder)
        print((folder / "log").read_text()[-20_000:], file=sys.stderr)


@asynccontextmanager
async def _client(settings: Settings, scheme: str = "https") -> AsyncIterator[httpx.AsyncClient]:
    """As one who has what the settings name."""
    tls = settings.backends_tls(True)
    assert tls
    url = f"{scheme}://{settings.nomad}/v1"
    async with httpx.AsyncClient(base_url=url, trust_env=False, verify=tls.client()) as client:
        yield client


async def _ready(client: httpx.AsyncClient) -> bool:
    try:
        nodes = (await client.get("nodes")).json()
    except (httpx.HTTPError, ValueError):
        return False
    return [each["Status"] for each in nodes] == ["ready"]


async def _ended(client: httpx.AsyncClient) -> bool:
    found = (await client.get("allocations")).json()
    return all(each["ClientStatus"] not in ("pending", "running") for each in found)


async def _services(secured: Secured) -> dict[str, Any]:
    headers = {"X-Consul-Token": secured.drawn.management}
    async with httpx.AsyncClient(trust_env=False, headers=headers) as client:
        url = f"http://{secured.http_at(NAME)}/v1/catalog/services"
        services: dict[str, Any] = (await client.get(url)).json()
    return services


async def test_nomad_is_for_those_with_a_certificate(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with _client(settings) as client:
        itself = (await client.get("agent/self")).json()
    assert itself["stats"]["serf"]["encrypted"] == "true"
    monkeypatch.setattr(plan, "NOMAD", int(settings.nomad.rpartition(":")[2]))
    assert await asyncio.to_thread(ready._nomad_clients) == 0, "without what SECURE=1 installs"
    monkeypatch.setattr(plan, "SECURE", str(tmp_path))
    assert await asyncio.to_thread(ready._nomad_clients) == 1
    nobody = ssl.create_default_context(cafile=settings.backends_ca_file)
    async with httpx.AsyncClient(trust_env=False, verify=nobody) as client:
        with pytest.raises((httpx.TransportError, ssl.SSLError)):
            await client.get(f"https://{settings.nomad}/v1/jobs")
        assert (await client.get(f"http://{settings.nomad}/v1/jobs")).status_code == 400


async def test_it_registers_itself_and_its_jobs_with_its_token(
    settings: Settings, secured: Secured
) -> None:
    """And CecoChat deploys, and asks it."""
    deployment = NomadDeployment(settings.nomad, tls=settings.backends_tls(settings.nomad_tls))
    with pytest.raises(CannotScale, match="runs no job"):
        await deployment.state("history")
    async with aclosing(Jobs(settings)) as jobs:
        job = await jobs.parse(JOB, {})
        await jobs.register(job, 0)
    there = {"nomad", "nomad-client", "nomad-cecochat-history"}

    async def registered() -> bool:
        return there <= set(await _services(secured))

    await eventually(registered, WITHIN_S, 0.2)
    assert (await deployment.state("history")).wanted == 1
