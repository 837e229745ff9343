"""What only discovery through Consul promises: dead servers leave, and an outage of Consul kills
nobody.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from cecochat.adapters.consul.discovery import ConsulDiscovery
from cecochat.adapters.consul.leading import EVERY_S, LOCK_DELAY_S
from cecochat.adapters.consul.settings import ConsulSettings
from cecochat.domain.errors import InvalidSettings
from cecochat.ports.discovery import Instance
from cecochat.settings.tls import Tls
from scripts.backends import consul as consul_kind
from scripts.backends.instance import Command, Kind
from scripts.backends.instance import Instance as Place_
from scripts.backends.probe import listens
from tests.contract.openers import SECRET, Place
from tests.contract.private import Private, private
from tests.support.certificates import Signed, certificates
from tests.support.eventually import eventually
from tests.support.livez import alive

SLACK_S = 30.0  # of a busy machine, beside what the checks take: against a hang, no measure
GRACE_S = 10.0
CHECKS_S = 2.0  # two that fail, a second apart
ROOT_TOKEN = "1d0f58a4-3a4f-4a14-a6b2-8f6c0a2c9a10"
SERVER = """
import asyncio
from tests.support.livez import alive
async def main():
    async with alive() as url:
        print(url, flush=True)
        await asyncio.get_running_loop().create_future()
asyncio.run(main())
"""


@pytest.fixture
async def consul(place: Place) -> AsyncGenerator[Private]:
    """A Consul of the test's own, without services."""
    async with private(consul_kind.KIND, place.folder / "consul", place.backends) as made:
        yield made


@pytest.fixture
async def discovery(consul: Private) -> AsyncGenerator[ConsulDiscovery]:
    """In which nothing is registered."""
    async with opened(consul) as made:
        yield made


def opened(consul: Private) -> Any:
    return ConsulDiscovery.open(ConsulSettings(consul.address, SECRET, grace_s=GRACE_S))


@asynccontextmanager
async def server() -> AsyncGenerator[tuple[asyncio.subprocess.Process, str]]:
    """A process that answers its health checks, and the URL of them."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield process, (await process.stdout.readline()).decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def messaging(name: str, url: str) -> Instance:
    return Instance("messaging", name, f"127.0.0.1:{7000 + len(name)}", url, "1.0")


def ids(discovery: ConsulDiscovery) -> str:
    return " ".join(instance.instance_id for instance in discovery.live("messaging"))


async def get(address: str, path: str) -> Any:
    """As a person with curl."""
    async with (
        aiohttp.ClientSession(f"http://{address}") as session,
        session.get(path) as response,
    ):
        return await response.json()


async def test_the_catalog_shows_a_server_with_its_meta(
    consul: Private, discovery: ConsulDiscovery
) -> None:
    async with alive() as url:
        await discovery.register(messaging("m1", url))
        [found] = await get(consul.address, "/v1/health/service/cecochat-messaging")
        service, check = found["Service"], found["Checks"][-1]
        assert service["ID"] == "cecochat-messaging-m1"
        assert (service["Address"], service["Port"]) == ("127.0.0.1", 7002)
        scheme, _, health = url.partition("://")
        signed = service["Meta"].pop("signature")
        assert len(signed) == 64
        assert service["Meta"] == {
            "instance_id": "m1",
            "health": health,
            "health_scheme": scheme,
            "version": "1.0",
        }
        assert (check["Status"], check["Type"]) == ("passing", "http")
        await discovery.deregister(messaging("m1", url))
        assert await get(consul.address, "/v1/health/service/cecochat-messaging") == []


async def test_others_see_who_registers_and_close_deregisters(
    consul: Private, discovery: ConsulDiscovery
) -> None:
    async with alive() as url:
        async with opened(consul) as other:
            await other.register(messaging("m1", url))
            await eventually(lambda: ids(discovery) == "m1")
        await eventually(lambda: ids(discovery) == "")


@pytest.mark.parametrize(
    ("number", "within_s"), [(signal.SIGKILL, 2.0), (signal.SIGSTOP, 4.0)], ids=["killed", "paused"]
)
async def test_a_dead_server_leaves(
    discovery: ConsulDiscovery, number: signal.Signals, within_s: float
) -> None:
    async with server() as (process, url), alive() as other_url:
        await discovery.register(messaging("dead", url))
        await discovery.register(messaging("well", other_url))
        await eventually(lambda: ids(discovery) == "dead well")
        process.send_signal(number)
        began = time.monotonic()
        await eventually(lambda: ids(discovery) == "well")
        assert time.monotonic() - began < within_s + SLACK_S
        if number == signal.SIGSTOP:
            process.send_signal(signal.SIGCONT)
            await eventually(lambda: ids(discovery) == "dead well")


@pytest.mark.parametrize("down_s", [0.5, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize("forgets", [False, True], ids=["restarted", "came back empty"])
async def test_an_outage_of_consul_kills_nobody_and_is_said_once(
    consul: Private,
    discovery: ConsulDiscovery,
    down_s: float,
    forgets: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "cecochat")
    async with watched(discovery) as sets, alive() as url, opened(consul) as other:
        await discovery.register(messaging("m1", url))
        await other.register(messaging("m2", url))
        await eventually(lambda: sets[-1:] == ["m1 m2"])
        sets.clear()
        assert discovery.answers
        await (consul.lose_everything() if forgets else consul.kill())
        await eventually(lambda: not discovery.answers)
        await asyncio.sleep(down_s)
        assert ids(discovery) == "m1 m2"
        await consul.start()
        await eventually(lambda: listed(consul, 2))
        await other.register(messaging("m3", url))
        await eventually(lambda: ids(discovery) == "m1 m2 m3")
        await eventually(lambda: discovery.answers)
        await asyncio.sleep(GRACE_S)  # whoever was kept for this long only would be gone now
        await eventually(lambda: sets)
        assert sets == ["m1 m2 m3"], "nobody was dead meanwhile"
    messages = [line.rpartition(": ")[2] for line in caplog.messages]
    away = "the servers that were live stay in use until it answers"
    assert messages.count(away) == 2, "once each of the two"
    assert messages.count("Consul answers again") == 2


async def listed(consul: Private, count: int) -> bool:
    """Whether so many are healthy, as Consul says."""
    found = await get(consul.address, "/v1/health/service/cecochat-messaging?passing=1")
    return isinstance(found, list) and len(found) == count


@asynccontextmanager
async def watched(discovery: ConsulDiscovery) -> AsyncGenerator[list[str]]:
    """Each set that a watcher sees, as ids."""
    sets: list[str] = []

    async def watch() -> None:
        async for instances in discovery.watch("messaging"):
            sets.append(" ".join(instance.instance_id for instance in instances))

    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(watch())
        yield sets
        watching.cancel()


async def test_a_server_that_dies_during_an_outage_is_dead_after_the_grace(
    consul: Private, discovery: ConsulDiscovery
) -> None:
    async with alive() as url, server() as (process, dying_url):
        await discovery.register(messaging("dying", dying_url))
        await discovery.register(messaging("m1", url))
        await eventually(lambda: ids(discovery) == "dying m1")
        await consul.kill()
        process.kill()
        await consul.start()
        assert ids(discovery) == "dying m1"
        await eventually(lambda: ids(discovery) == "m1")


async def test_a_server_that_starts_while_consul_is_away_is_known_when_it_is_back(
    consul: Private,
) -> None:
    await consul.kill()
    async with opened(consul) as discovery, alive() as url:
        await discovery.register(messaging("m1", url))
        assert ids(discovery) == ""
        await consul.start()
        await eventually(lambda: ids(discovery) == "m1")


def configured(more: dict[str, Any], scheme: str = "http") -> Kind:
    """A Consul with more settings."""

    def command(instance: Place_) -> Command:
        made = consul_kind.command(instance)
        ports = {**consul_kind.settings(instance)["ports"], scheme: instance.port}  # type: ignore[dict-item]
        if scheme == "https":
            ports["http"] = -1
        file = instance.folder / "more.json"
        file.write_text(json.dumps({**more, "ports": ports}))
        return replace(made, argv=[*made.argv, "-config-file", str(file)])

    return replace(consul_kind.KIND, command=command, answers=listens)


async def test_an_acl_token_is_used(place: Place, stack: AsyncExitStack) -> None:
    acl = {
        "enabled": True,
        "default_policy": "deny",
        "tokens": {"initial_management": ROOT_TOKEN, "agent": ROOT_TOKEN},
    }
    made = private(configured({"acl": acl}), place.folder / "consul", place.backends)
    consul = await stack.enter_async_context(made)
    settings = ConsulSettings(consul.address, SECRET, token=ROOT_TOKEN)
    assert ROOT_TOKEN not in repr(settings)
    async with alive() as url, ConsulDiscovery.open(settings) as discovery:
        await eventually(lambda: _registers(discovery, url))
        await eventually(lambda: ids(discovery) == "m1")
        async with ConsulDiscovery.open(replace(settings, token=None)) as nobody:
            with pytest.raises(InvalidSettings, match="check the token"):
                await nobody.register(messaging("m2", url))
            assert ids(nobody) == ""


async def _registers(discovery: ConsulDiscovery, url: str) -> bool:
    """Once a leader is elected, and has made the token."""
    try:
        await discovery.register(messaging("m1", url))
    except InvalidSettings:
        return False
    return True


async def test_the_next_leads_soon_after_the_server_of_a_leader_is_killed(
    consul: Private, discovery: ConsulDiscovery
) -> None:
    """Though the session is renewed all the time, and would else last for 10 s or more."""
    loop = asyncio.get_running_loop()
    async with server() as (process, url), alive() as other_url:
        for name, health_url in (("c1", url), ("c2", other_url)):
            at = f"127.0.0.1:{7000 + int(name[1])}"
            await discovery.register(Instance("control", name, at, health_url, "1.0"))
        async with (
            aclosing(discovery.lead("control", "c1")) as first,
            aclosing(discovery.lead("control", "c2")) as second,
            asyncio.timeout(60),
        ):
            assert await anext(first) is True
            assert await anext(second) is False
            process.kill()
            killed_s = loop.time()
            assert await anext(first) is False
            assert await anext(second) is True
            took_s = loop.time() - killed_s
    print(f"the next leads after {took_s:.1f} s")
    assert took_s < CHECKS_S + LOCK_DELAY_S + EVERY_S + SLACK_S


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    return certificates(tmp_path / "ours")


async def test_tls_with_a_client_certificate(
    place: Place, stack: AsyncExitStack, signed: Signed, tmp_path: Path
) -> None:
    ca_file, cert_file, key_file = map(str, signed)
    tls = {"ca_file": ca_file, "cert_file": cert_file, "key_file": key_file}
    kind = configured({"tls": {"https": {**tls, "verify_incoming": True}}}, "https")
    consul = await stack.enter_async_context(private(kind, place.folder / "consul", place.backends))
    settings = ConsulSettings(consul.address, SECRET, tls=Tls(*signed))
    async with alive() as url, ConsulDiscovery.open(settings) as discovery:
        await discovery.register(messaging("m1", url))
        await eventually(lambda: ids(discovery) == "m1")
        other = certificates(tmp_path / "other")
        untrusting = replace(settings, tls=Tls(other.ca_file, signed.cert_file, signed.key_file))
        async with ConsulDiscovery.open(untrusting) as refusing:
            with pytest.raises(InvalidSettings, match=r"(?i)certificate verify failed.*CA file"):
                await refusing.register(messaging("m2", url))


@pytest.mark.parametrize("address", ["", "consul", "consul:", ":8500", "consul:http"])
async def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InvalidSettings, match="use host:port"):
        async with ConsulDiscovery.open(ConsulSettings(address, SECRET)):
            pass
