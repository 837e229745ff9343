"""SECURE=1: three real servers of Consul with the settings and the secrets of a test cluster, and
a Nomad beside them. Who has no key, token or certificate is refused.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from cecochat.adapters.consul.discovery import ConsulDiscovery
from cecochat.adapters.consul.settings import ConsulSettings
from cecochat.domain.errors import InvalidSettings
from cecochat.ports.discovery import Instance
from cecochat.settings.tls import Tls
from scripts.backends.instance import Failed
from scripts.cluster import acl
from tests.conftest import backends_key
from tests.contract.openers import SECRET
from tests.support.eventually import eventually
from tests.support.livez import alive
from tests.support.secured import GUESTS, WITHIN_S, Secured, apply, draw, joined, server

FIRST, SECOND, THIRD = GUESTS
ALIVE = 1  # as serf counts
CONSUL_TLS_BYTE = b"\x03"  # what a connection to the port of the servers begins with
REFUSED = r"(?i)certificate.required"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def secured(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Secured]:
    """Joined, and with its ACL."""
    backends = request.config.stash[backends_key]
    with joined(tmp_path_factory.mktemp("secured"), backends) as started:
        assert started.changed == [
            "management",
            *(f"{what} {name}" for name in acl.POLICIES for what in ("policy", "token")),
        ]
        yield started


async def ask(secured: Secured, path: str, token: str = "", **more: Any) -> httpx.Response:
    """As a program of the first guest does."""
    async with httpx.AsyncClient(trust_env=False) as client:
        headers = {"X-Consul-Token": token} if token else {}
        url = f"http://{secured.http_at(FIRST)}/v1/{path}"
        return await client.request(more.pop("method", "GET"), url, headers=headers, **more)


# Gossip, and the port of the servers


async def test_servers_with_the_same_secrets_are_one_cluster(secured: Secured) -> None:
    peers = (await ask(secured, "status/peers")).json()
    assert len(peers) == len(GUESTS)
    itself = (await ask(secured, "agent/self", secured.drawn.management)).json()
    assert itself["Stats"]["serf_lan"]["encrypted"] == "true"
    nodes = await ask(secured, "catalog/nodes", secured.drawn.tokens["cecochat"])
    assert {each["Node"] for each in nodes.json()} == set(GUESTS)


async def test_a_server_with_another_gossip_key_does_not_join(
    secured: Secured, tmp_path: Path
) -> None:
    name, address = "server9", "127.0.0.19"
    other = draw(tmp_path / "other", {name: address}).guests[name]
    near = secured.servers[FIRST].instance
    stranger = server(other, tmp_path / name, name, address, near.ports, secured.https)
    try:
        stranger.launch()
        await eventually(lambda: b"Failed to join" in stranger.instance.log.read_bytes(), WITHIN_S)
        members = await ask(secured, "agent/members", secured.drawn.management)
        assert {each["Name"] for each in members.json()} == set(GUESTS)
        assert not stranger.answers()
    finally:
        stranger.kill()


@pytest.mark.parametrize("begin", [b"\x00", CONSUL_TLS_BYTE], ids=["plain", "no certificate"])
def test_the_port_of_the_servers_is_for_those_with_a_certificate(
    secured: Secured, begin: bytes
) -> None:
    there = secured.servers[FIRST].instance
    connection = socket.create_connection((there.host, there.ports["server"]), 10)
    with ExitStack() as stack:
        connection = stack.enter_context(connection)
        connection.sendall(begin)
        if begin == CONSUL_TLS_BYTE:
            context = ssl.create_default_context(cafile=secured.drawn.host_tls.ca_file)
            encrypted = context.wrap_socket(connection, server_hostname="server.dc1.consul")
            connection = stack.enter_context(encrypted)
            stack.enter_context(pytest.raises(ssl.SSLError, match=REFUSED))
        assert not connection.recv(1)


# The ACL


async def test_the_acl_is_made_once(secured: Secured) -> None:
    assert apply(secured) == []
    before = (await ask(secured, "acl/tokens", secured.drawn.management)).json()
    assert apply(secured) == []
    assert (await ask(secured, "acl/tokens", secured.drawn.management)).json() == before


def test_with_another_token_that_may_do_all_it_says_what_to_do(secured: Secured) -> None:
    there = secured.servers[FIRST].instance
    other = "9f1d2f0c-6a41-4d0b-9f6a-000000000002"
    with pytest.raises(Failed, match="begin anew"):
        acl.apply(other, secured.drawn.tokens, there.host, there.port)


async def test_without_a_token_nothing_is_told_or_taken(secured: Secured) -> None:
    assert (await ask(secured, "catalog/services")).json() == {}
    assert (await ask(secured, "kv/cecochat/leaders/control")).status_code == 403
    named = {"Name": "cecochat-messaging", "Port": 1}
    for token, status in (("", 403), (secured.drawn.tokens["prometheus"], 403)):
        put = await ask(secured, "agent/service/register", token, method="PUT", json=named)
        assert put.status_code == status, put.text
    async with (
        ConsulDiscovery.open(ConsulSettings(secured.http_at(FIRST), SECRET)) as nobody,
        alive() as url,
    ):
        with pytest.raises(InvalidSettings, match="check the token"):
            await nobody.register(messaging("m1", url))


async def test_the_token_of_cecochat_is_for_no_more_than_it_does(secured: Secured) -> None:
    token = secured.drawn.tokens["cecochat"]
    for method, path, body in (
        ("PUT", "agent/service/register", {"Name": "nomad", "Port": 1}),
        ("PUT", "kv/vault/core", {}),
        ("GET", "agent/self", None),
        ("GET", "acl/tokens", None),
    ):
        asked = await ask(secured, path, token, method=method, json=body)
        assert asked.status_code == 403, f"{method} {path}: {asked.text}"


async def test_the_token_of_prometheus_lets_it_find_servers(secured: Secured) -> None:
    """By the calls of its service discovery, with the token in the header that it uses."""
    headers = {"Authorization": f"Bearer {secured.drawn.tokens['prometheus']}"}
    url = f"http://{secured.http_at(FIRST)}/v1"
    async with (
        _discovery(secured.http_at(FIRST), secured.drawn.tokens["cecochat"]) as registry,
        alive() as health,
        httpx.AsyncClient(trust_env=False, headers=headers) as client,
    ):
        await registry.register(messaging("m1", health))
        itself = (await client.get(f"{url}/agent/self")).json()
        assert itself["Config"]["Datacenter"] == "dc1"
        assert list((await client.get(f"{url}/catalog/services")).json()) == ["cecochat-messaging"]
        [found] = (await client.get(f"{url}/health/service/cecochat-messaging")).json()
        assert found["Service"]["Meta"]["health"] == health.removeprefix("http://")


async def test_with_its_token_cecochat_registers_finds_and_leads(secured: Secured) -> None:
    drawn = secured.drawn
    token = drawn.tokens["cecochat"]
    async with AsyncExitStack() as stack:
        near = await stack.enter_async_context(_discovery(secured.http_at(FIRST), token))
        far = await stack.enter_async_context(
            _discovery(secured.https_at(SECOND), token, drawn.host_tls)
        )
        url = await stack.enter_async_context(alive())
        await near.register(messaging("m1", url))
        await far.register(messaging("m2", url))
        await eventually(lambda: _ids(near) == _ids(far) == "m1 m2", WITHIN_S)
        await far.deregister(messaging("m2", url))
        await eventually(lambda: _ids(near) == "m1", WITHIN_S)
        async with asyncio.timeout(WITHIN_S):
            leading = near.lead("control", "control-1")
            assert await anext(leading) is True
            await leading.aclose()


def _discovery(address: str, token: str, tls: Tls | None = None) -> Any:
    return ConsulDiscovery.open(ConsulSettings(address, SECRET, token=token, tls=tls))


def messaging(name: str, url: str) -> Instance:
    return Instance("messaging", name, "127.0.0.1:7001", url, "1.0")


def _ids(discovery: ConsulDiscovery) -> str:
    return " ".join(sorted(each.instance_id for each in discovery.live("messaging")))


# TLS


async def test_https_is_for_those_with_a_certificate_of_the_cluster(
    secured: Secured, tmp_path: Path
) -> None:
    url = f"https://{secured.https_at(THIRD)}/v1/catalog/nodes"
    ours, others = secured.drawn, draw(tmp_path / "others")
    stranger = Tls(ours.host_tls.ca_file, others.host_tls.cert_file, others.host_tls.key_file)
    for tls in (Tls(ours.host_tls.ca_file), stranger):
        async with _client(tls) as client:
            with pytest.raises((httpx.TransportError, ssl.SSLError)):  # a reset, or why
                await client.get(url)
    async with _client(ours.host_tls) as client:
        assert (await client.get(url)).json() == [], "and yet it takes a token"
        headers = {"X-Consul-Token": ours.management}
        assert len((await client.get(url, headers=headers)).json()) == len(GUESTS)


@asynccontextmanager
async def _client(tls: Tls) -> AsyncGenerator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, verify=tls.client()) as client:
        yield client
