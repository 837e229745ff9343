"""A real Prometheus scrapes what a real Consul knows, as `observability/prometheus.yml` says, or
what `cecochat up` has started on this machine.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry, Gauge

from cecochat.adapters.consul.discovery import ConsulDiscovery
from cecochat.adapters.consul.settings import ConsulSettings
from cecochat.ports.discovery import Instance
from cecochat.runtime import http, internal
from scripts.backends import launch
from scripts.backends.launch import Backend
from scripts.backends.prometheus import RULES
from tests.support import operators
from tests.support.backends import Backends
from tests.support.eventually import eventually
from tests.support.prometheus import Prometheus
from tests.support.server import Server

pytestmark = pytest.mark.timeout(420)

RULE = r"- (?:alert|record):"


@asynccontextmanager
async def started(backend: Backend) -> AsyncIterator[str]:
    """Its address."""
    try:
        await asyncio.to_thread(backend.start)
        yield backend.address
    finally:
        await asyncio.to_thread(backend.kill)


def told(consul: str, token: Path) -> dict[str, str]:
    """Whom it asks, and with what."""
    token.write_text(operators.token("metrics"))
    return {"consul": consul, "token": str(token)}


@asynccontextmanager
async def messaging_server(consul: str) -> AsyncIterator[Instance]:
    """What of it Prometheus sees: it is registered, and carries seven sessions. Where its clients
    would be, nothing listens.
    """
    registry = CollectorRegistry()
    Gauge("cecochat_sessions", "Sessions that are open.", registry=registry).set(7)
    app = internal.app(operators.guard(), "messaging", "messaging-1-a", registry, lambda: None)
    async with (
        http.serving(app, "127.0.0.1", 0) as port,
        ConsulDiscovery.open(
            ConsulSettings(consul, b"not of interest", namespace="my_chat")
        ) as discovery,
    ):
        health = f"http://127.0.0.1:{port}"
        known = Instance("messaging", "messaging-1-a", "127.0.0.1:1", health, "0.1.0")
        await discovery.register(known)
        yield known


async def as_a_job_registers_it(client: httpx.AsyncClient, consul: str) -> None:
    """The entry of Nomad's beside the one of the server: it must not be scraped, too."""
    entry = {"Name": "nomad-cecochat-messaging", "Address": "127.0.0.1", "Port": 1}
    put = await client.put(f"http://{consul}/v1/agent/service/register", json=entry)
    assert put.is_success


async def test_each_server_is_scraped_once_under_its_name(
    tmp_path: Path, backends: Backends
) -> None:
    backends.provisioned("consul")
    backends.provisioned("prometheus")
    async with (
        started(launch.private("consul", tmp_path / "consul")) as consul,
        messaging_server(consul) as server,
        started(
            launch.private("prometheus", tmp_path / "p", told(consul, tmp_path / "token"))
        ) as prometheus,
        httpx.AsyncClient(trust_env=False, base_url=f"http://{prometheus}/api/v1") as client,
    ):
        await as_a_job_registers_it(client, consul)

        async def found() -> list[dict[str, str]]:
            answer = await client.get("/query", params={"query": "cecochat_sessions == 7"})
            return [each["metric"] for each in answer.json()["data"]["result"]]

        await eventually(found, within_s=60, every_s=0.2)
        (labels,) = await found()
        targets = (await client.get("/targets")).json()["data"]["activeTargets"]
        rules = (await client.get("/rules")).json()["data"]["groups"]
    assert labels == {
        "__name__": "cecochat_sessions",
        "job": "cecochat",
        "instance": "messaging-1-a",
        "service": "messaging",
        "namespace": "my_chat",
    }
    assert [each["scrapeUrl"] for each in targets] == [f"{server.health_url}/metrics"]
    assert {rule["health"] for group in rules for rule in group["rules"]} <= {"ok", "unknown"}
    assert sum(len(group["rules"]) for group in rules) == len(re.findall(RULE, RULES.read_text()))


async def test_what_up_has_started_is_scraped_also_where_it_starts_later(
    tmp_path: Path, backends: Backends
) -> None:
    if not launch.here("prometheus-up"):
        backends.absent("promtool")
    up = Server(tmp_path / "up", {"CECOCHAT_NAMESPACE": "my_chat"})
    targets = {"targets": str(tmp_path / "up" / "state" / "cecochat" / "targets.json")}
    try:
        async with started(launch.private("prometheus-up", tmp_path / "p", targets)) as address:
            prometheus = Prometheus(f"http://{address}")
            assert await prometheus.up() == 0
            await up.start()

            async def all_up() -> bool:
                return await prometheus.up() == len(up.ready["health"])

            await eventually(all_up, within_s=60, every_s=0.2)
            found = (await prometheus.get("targets"))["activeTargets"]
            rules = (await prometheus.get("rules"))["groups"]
    finally:
        await up.release()
    health = up.ready["health"]
    assert {each["labels"]["service"]: each["scrapeUrl"] for each in found} == {
        service: f"{url}/metrics" for service, url in health.items()
    }
    assert {each["labels"]["namespace"] for each in found} == {"my_chat"}
    assert sum(len(group["rules"]) for group in rules) == len(re.findall(RULE, RULES.read_text()))
