"""Certificates that are exchanged while servers run, by real handshakes on each port of clients."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from cecochat.auth import certificates as watched
from cecochat.client import connect
from cecochat.domain.errors import InvalidSettings
from cecochat.settings.tls import Tls
from tests.integration.systems import running
from tests.integration.test_tls import first_message
from tests.support import operators
from tests.support.certificates import Signed, certificates
from tests.support.eventually import eventually
from tests.support.server import running as process

DAY_S = 86_400


def serial(address: str, ca_file: Path) -> int:
    """Of the certificate that is shown there. Raises OSError where it is not of this authority."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection((host, int(port)), 10) as plain,
        context.wrap_socket(plain, server_hostname=host) as encrypted,
    ):
        shown = encrypted.getpeercert()
    assert shown
    return int(str(shown["serialNumber"]), 16)


def shows(addresses: list[str], ca_file: Path) -> bool:
    try:
        return len({serial(each, ca_file) for each in addresses}) == 1
    except ssl.SSLError:
        return False


def put(signed: Signed, there: Signed) -> None:
    """As a program does that renews certificates: the one file, then the other."""
    for new, old in zip(signed, there, strict=True):
        old.write_bytes(new.read_bytes())


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watched, "LOOK_EVERY_S", 0.1)


async def test_another_certificate_is_shown_on_all_ports_and_no_stream_ends(tmp_path: Path) -> None:
    first, second = (certificates(tmp_path / name) for name in ("first", "second"))
    used = certificates(tmp_path / "used")
    put(first, used)
    async with running(
        tmp_path / "data", tls_cert_file=used.cert_file, tls_key_file=used.key_file
    ) as up:
        url = up.addresses.connect
        ports = [urlsplit(url).netloc, up.addresses.messaging, up.addresses.history]

        async def shown(signed: Signed) -> bool:
            return await asyncio.to_thread(shows, ports, signed.ca_file)

        assert await shown(first)
        trusted = ssl.create_default_context(cafile=first.ca_file)
        async with (
            httpx.AsyncClient(verify=trusted, timeout=30) as kept,
            connect(url, up.token("bob"), ca_file=first.ca_file) as bob,
            connect(url, up.token("alice"), ca_file=first.ca_file) as alice,
        ):
            assert (await kept.get(f"{url}/livez")).is_success
            put(second, used)
            await eventually(lambda: shown(second))
            assert not await shown(first)
            await alice.send("bob", "on the streams of before")
            assert (await first_message(bob)).text == "on the streams of before"
            assert (await kept.get(f"{url}/livez")).is_success, "on its connection"
            async with connect(url, up.token("carol"), ca_file=second.ca_file) as carol:
                await carol.send("bob", "on a new one")
                assert (await first_message(bob)).text == "on a new one"


async def test_a_process_takes_it_too(tmp_path: Path) -> None:
    """With another event loop, and looking as often as it does."""
    first, second = (certificates(tmp_path / name) for name in ("first", "second"))
    used = certificates(tmp_path / "used")
    put(first, used)
    settings = {
        "CECOCHAT_TLS_CERT_FILE": str(used.cert_file),
        "CECOCHAT_TLS_KEY_FILE": str(used.key_file),
    }
    async with process(tmp_path / "up", settings) as up:
        ports = [urlsplit(up.connect_url).netloc, up.ready["messaging"], up.ready["history"]]
        assert await asyncio.to_thread(shows, ports, first.ca_file)
        put(second, used)
        await eventually(lambda: asyncio.to_thread(shows, ports, second.ca_file))
        assert "is in use from now on" in up.said


@pytest.mark.parametrize("broken", ["key of another", "no certificate", "empty", "gone"])
async def test_a_broken_pair_leaves_the_one_before_and_is_said_once(
    tmp_path: Path, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    used, other = certificates(tmp_path / "used"), certificates(tmp_path / "other")
    before = [file.read_bytes() for file in used]
    async with running(
        tmp_path / "data", tls_cert_file=used.cert_file, tls_key_file=used.key_file
    ) as up:
        ports = [urlsplit(up.addresses.connect).netloc, up.addresses.messaging]
        ca_file = tmp_path / "ca.pem"
        ca_file.write_bytes(before[0])
        match broken:
            case "key of another":
                used.key_file.write_bytes(other.key_file.read_bytes())
            case "no certificate":
                used.cert_file.write_text("no certificate")
            case "empty":
                used.cert_file.write_text("")
            case _:
                used.cert_file.unlink()
        await eventually(lambda: said(caplog))
        await asyncio.sleep(0.5)  # some more looks
        assert len(said(caplog)) == 1
        assert await asyncio.to_thread(shows, ports, ca_file)
        put(other, used)
        await eventually(lambda: asyncio.to_thread(shows, ports, other.ca_file))


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.message
        for record in caplog.records
        if record.levelno == logging.ERROR and "stays in use" in record.message
    ]


async def test_the_metric_says_how_long_it_still_holds(tmp_path: Path) -> None:
    used = certificates(tmp_path / "used")
    async with (
        running(tmp_path / "data", tls_cert_file=used.cert_file, tls_key_file=used.key_file) as up,
        operators.client() as client,
    ):
        url = f"{up.addresses.health['messaging']}/metrics"

        async def lasts(days: int) -> bool:
            text = (await client.get(url)).text
            name = 'cecochat_certificate_left_seconds{listener="clients"}'
            [line] = [each for each in text.splitlines() if each.startswith(name)]
            return 0 < days * DAY_S - float(line.split()[-1]) < 600

        assert await lasts(1)
        put(certificates(tmp_path / "longer", days=30), used)
        await eventually(lambda: lasts(30))


def test_what_is_no_certificate_stops_the_start(tmp_path: Path) -> None:
    signed = certificates(tmp_path / "used")
    signed.cert_file.write_text("no certificate")
    files = f"^{signed.cert_file}, {signed.key_file} cannot be used"
    with pytest.raises(InvalidSettings, match=files):
        watched.Certificate(Tls(cert_file=signed.cert_file, key_file=signed.key_file))
