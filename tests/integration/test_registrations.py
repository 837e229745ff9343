"""Who can write to Consul and has not the secret of the cluster: nobody is sent where it says."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from typer.testing import CliRunner

from cecochat.adapters import build
from cecochat.adapters.consul.backend import examine
from cecochat.adapters.consul.discovery import ConsulDiscovery
from cecochat.cli.main import app
from cecochat.domain.cluster import assignment
from cecochat.domain.errors import InvalidSettings
from cecochat.domain.log.ids import UserId
from cecochat.edge.configuration import of_instances, written
from cecochat.ports.discovery import Discovery, Instance
from cecochat.runtime.metrics import show_unproven
from cecochat.servers.connect.server import Directory
from cecochat.settings.backends import Finding
from cecochat.settings.settings import Settings, made
from tests.support.backends import Backends
from tests.support.eventually import eventually
from tests.support.livez import alive

PARTITIONS = 4
REAL, THIEF = "127.0.0.1:7001", "127.0.0.1:6666"
EDGE = "127.0.0.1:8443"


@pytest.fixture
def settings(tmp_path: Path, backends: Backends) -> Settings:
    """Of one cluster in the shared Consul."""
    file = tmp_path / "cluster-secret"
    file.write_text(secrets.token_hex(32))
    namespace = f"test_{secrets.token_hex(6)}"
    return made(
        consul=backends.address("consul"), namespace=namespace, edge=EDGE, data_dir=tmp_path
    )


@pytest.fixture
async def discovery(settings: Settings) -> AsyncGenerator[Discovery]:
    """As any server, edge or command has it."""
    async with build.discovery(settings) as opened:
        yield opened


def messaging(url: str, address: str = REAL) -> Instance:
    """Of which clients are told the edge, where there is one, and the edge the address behind."""
    return Instance("messaging", "messaging-1", address, url, "1.0", address)


async def forge(settings: Settings, registered_id: str, url: str, meta: dict[str, str]) -> None:
    """Register with Consul, as whoever reaches it can."""
    host, _, port = THIEF.rpartition(":")
    body: dict[str, Any] = {
        "Name": f"{settings.namespace}-messaging",
        "ID": registered_id,
        "Address": host,
        "Port": int(port),
        "Meta": {"instance_id": "messaging-1", "version": "1.0", "behind": THIEF, **meta},
        "Check": {"HTTP": f"{url}/livez", "Interval": "1s", "Status": "passing"},
    }
    async with httpx.AsyncClient(trust_env=False) as client:
        put = await client.put(
            f"http://{settings.value('consul')}/v1/agent/service/register", json=body
        )
        assert put.is_success, put.text


async def forget(settings: Settings, registered_id: str) -> None:
    url = f"http://{settings.value('consul')}/v1/agent/service/deregister/{registered_id}"
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.put(url)).is_success


async def listed(settings: Settings) -> list[dict[str, Any]]:
    """What Consul says is healthy."""
    url = f"http://{settings.value('consul')}/v1/health/service/{settings.namespace}-messaging?passing=1"
    async with httpx.AsyncClient(trust_env=False) as client:
        return [entry["Service"] for entry in (await client.get(url)).json()]


def told(discovery: Discovery) -> set[str]:
    """Where clients of every partition are sent by connect."""
    directory = Directory(discovery, PARTITIONS)
    owners = assignment.parse(dict.fromkeys(map(str, range(PARTITIONS)), "messaging-1"), PARTITIONS)
    directory._assignment = owners
    return {directory.lookup(UserId(f"user-{number}")).messaging for number in range(50)}


async def test_nobody_is_sent_to_an_instance_that_took_a_live_servers_id(
    settings: Settings, discovery: Discovery
) -> None:
    async with alive() as url:
        await discovery.register(messaging(url))
        await eventually(lambda: discovery.live("messaging"))
        forged = f"{settings.namespace}-thief"
        await forge(settings, forged, url, {"health_url": url, "signature": "0" * 64})
        async with build.discovery(settings) as anew:
            assert len(await listed(settings)) == 2
            for each in (discovery, anew):
                assert told(each) == {REAL}
                assert each.live("messaging") == (messaging(url),)
                text = written(settings, of_instances(settings, each.live("messaging")))
                assert REAL in text
                assert THIEF not in text
        await forget(settings, forged)


async def test_what_nobody_signed_is_said_once_and_counted(
    settings: Settings, discovery: Discovery, caplog: pytest.LogCaptureFixture
) -> None:
    registry = CollectorRegistry()
    show_unproven(registry, lambda: len(discovery.unproven))
    forged = f"{settings.namespace}-thief"
    async with alive() as url:
        await forge(settings, forged, url, {})
        await eventually(lambda: discovery.unproven)
        [found] = discovery.unproven
        assert (found.service, found.registered_id, found.address) == ("messaging", forged, THIEF)
        await discovery.register(messaging(url))  # another answer, with the same entry again
        await eventually(lambda: discovery.live("messaging"))
        assert "cecochat_registrations_unproven 1.0" in generate_latest(registry).decode()
        await forget(settings, forged)
        await eventually(lambda: not discovery.unproven)
    said = [record for record in caplog.records if "is not signed" in record.message]
    assert [record.levelno for record in said] == [logging.ERROR]
    assert all(word in said[0].message for word in (forged, THIEF, "CECOCHAT_CLUSTER_SECRET_FILE"))
    assert "cecochat_registrations_unproven 0.0" in generate_latest(registry).decode()


async def test_a_cluster_with_another_secret_believes_nothing(
    settings: Settings, discovery: Discovery, tmp_path: Path
) -> None:
    other = tmp_path / "other-secret"
    other.write_text(secrets.token_hex(32))
    async with alive() as url, build.discovery(replace(settings, cluster_secret_file=other)) as far:
        await discovery.register(messaging(url))
        await eventually(lambda: discovery.live("messaging") and far.unproven)
        assert far.live("messaging") == ()


async def test_a_server_whose_entry_was_changed_writes_it_again(
    settings: Settings, discovery: Discovery
) -> None:
    assert isinstance(discovery, ConsulDiscovery)

    async def lists(port: int) -> bool:
        return [each["Port"] for each in await listed(settings)] == [port]

    async with alive() as url:
        await discovery.register(messaging(url))
        own = f"{settings.namespace}-messaging-messaging-1"
        async with discovery._registering:  # it does not look before the change was seen
            await forge(settings, own, url, {})
            await eventually(lambda: lists(6666))
        await eventually(lambda: lists(7001))
        await eventually(lambda: discovery.live("messaging") == (messaging(url),))


@pytest.mark.parametrize("text", [None, "", "short"])
async def test_without_a_secret_that_nobody_guesses_it_does_not_start(
    settings: Settings, tmp_path: Path, text: str | None
) -> None:
    file = tmp_path / "of-nobody"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InvalidSettings, match="of-nobody"):
        async with build.discovery(replace(settings, cluster_secret_file=file)):
            pass


def test_doctor_names_what_nobody_signed(settings: Settings) -> None:
    async def registered() -> Finding:
        forged = f"{settings.namespace}-thief"
        async with alive() as url:
            await forge(settings, forged, url, {})
            (finding,) = await asyncio.to_thread(examine, settings)
            await forget(settings, forged)
        return finding

    assert [each.result for each in examine(settings)] == ["ok"]
    finding = asyncio.run(registered())
    assert finding.result == "wrong"
    assert THIEF in finding.found


async def test_status_names_what_nobody_signed(
    settings: Settings, discovery: Discovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(settings.data_dir))  # no `up` of whoever runs this
    for name in ("consul", "namespace", "data_dir"):
        monkeypatch.setenv(f"CECOCHAT_{name.upper()}", str(settings.value(name)))
    forged = f"{settings.namespace}-thief"

    async def status() -> str:
        said = await asyncio.to_thread(CliRunner().invoke, app([]), ["status"])
        return f"{said.output}{said.exception}"

    async with alive() as url:
        await forge(settings, forged, url, {})
        assert "name the secret of the cluster with CECOCHAT_CLUSTER_SECRET_FILE" in await status()
        await discovery.register(messaging(url))
        await eventually(lambda: discovery.live("messaging"))
        said = await status()
        await forget(settings, forged)
    assert f"WRONG  {forged} at {THIEF}" in said
