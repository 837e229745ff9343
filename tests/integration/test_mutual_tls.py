"""Servers and operators among themselves over mutual TLS: who has no certificate of the cluster's
authority learns no more than whether a server lives.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from typer.testing import CliRunner

from cecochat.auth import certificates as watched
from cecochat.cli.main import app
from cecochat.client import connect
from cecochat.domain.errors import InvalidSettings
from cecochat.settings.settings import load
from cecochat.settings.tls import Tls
from tests.integration.systems import running
from tests.integration.test_certificates import put
from tests.support import operators
from tests.support.certificates import Signed, certificates
from tests.support.eventually import eventually

SERVERS = ("connect", "messaging", "materialize", "history", "hooks")


def mutual(signed: Signed) -> dict[str, Any]:
    """The settings for it."""
    names = ("internal_ca_file", "internal_cert_file", "internal_key_file")
    return dict(zip(names, signed, strict=True))


def with_certificate(signed: Signed) -> ssl.SSLContext:
    return Tls(*signed).client()


def without(signed: Signed) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=signed.ca_file)


async def answers(url: str, context: ssl.SSLContext, **more: Any) -> httpx.Response:
    """To an operator, over a connection of its own."""
    async with operators.client(verify=context, **more) as client:
        return await client.get(url)


@asynccontextmanager
async def up(folder: Path, signed: Signed) -> AsyncGenerator[dict[str, str]]:
    """The URL of each internal listener."""
    async with running(
        folder, cluster_secret_file=operators.SECRET_FILE, **mutual(signed)
    ) as started:
        yield started.addresses.health


async def test_without_a_certificate_a_server_says_only_whether_it_lives(tmp_path: Path) -> None:
    signed, other = (certificates(tmp_path / name) for name in ("ours", "other"))
    async with up(tmp_path / "data", signed) as health:
        assert set(health) == set(SERVERS)
        for url in health.values():
            assert url.startswith("https://")
            for path in ("livez", "readyz"):
                assert (await answers(f"{url}/{path}", without(signed))).is_success
            refused = await answers(f"{url}/metrics", without(signed))
            assert refused.status_code == httpx.codes.FORBIDDEN
            assert refused.json()["error"]["code"] == "forbidden"
            assert "CECOCHAT_INTERNAL_CERT_FILE" in refused.json()["error"]["message"]
            assert (await answers(f"{url}/metrics", with_certificate(signed))).is_success
            stranger = Tls(signed.ca_file, other.cert_file, other.key_file).client()
            with pytest.raises((httpx.TransportError, ssl.SSLError)):
                await answers(f"{url}/livez", stranger)
            with pytest.raises(httpx.ConnectError):
                await answers(f"{url}/livez", with_certificate(other))
            with pytest.raises(httpx.TransportError):
                await answers(f"{url.replace('https', 'http')}/livez", without(signed))


async def test_a_certificate_does_not_take_the_place_of_a_token(tmp_path: Path) -> None:
    signed = certificates(tmp_path / "ours")
    async with up(tmp_path / "data", signed) as health:
        url = f"{health['messaging']}/sessions"
        refused = await answers(url, with_certificate(signed), headers={})
        assert refused.status_code == httpx.codes.UNAUTHORIZED


async def test_another_authority_is_taken_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has a certificate of the one before is let in no more."""
    monkeypatch.setattr(watched, "LOOK_EVERY_S", 0.1)
    first, second = (certificates(tmp_path / name) for name in ("first", "second"))
    used = certificates(tmp_path / "used")
    put(first, used)
    async with up(tmp_path / "data", used) as health:
        url = f"{health['history']}/metrics"
        assert (await answers(url, with_certificate(first))).is_success
        stolen = Tls(second.ca_file, first.cert_file, first.key_file).client()
        stolen.load_verify_locations(first.ca_file)
        session = await asyncio.to_thread(session_of, url, stolen)
        put(second, used)

        async def taken() -> bool:
            try:
                return (await answers(url, with_certificate(second))).is_success
            except (httpx.TransportError, ssl.SSLError):
                return False

        await eventually(taken)
        with pytest.raises((httpx.TransportError, ssl.SSLError)):
            await answers(url, stolen)
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            await asyncio.to_thread(session_of, url, stolen, session)
        text = (await answers(url, with_certificate(second))).text
        assert 'cecochat_certificate_left_seconds{listener="internal"}' in text


async def test_servers_and_commands_show_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`where` is asked by a command and asks the messaging server in turn."""
    signed = certificates(tmp_path / "ours")
    async with running(
        tmp_path / "data", cluster_secret_file=operators.SECRET_FILE, **mutual(signed)
    ) as started:
        url = started.addresses.health["history"]
        async with connect(started.addresses.connect, started.token("alice")) as alice:
            message_id = await alice.send("bob", "who asks?")
        monkeypatch.setenv("CECOCHAT_CLUSTER_SECRET_FILE", str(operators.SECRET_FILE))
        words = ["where", str(message_id), "--server", url]
        refused = await asyncio.to_thread(CliRunner().invoke, app([]), words)
        assert refused.exit_code != 0
        for name, file in mutual(signed).items():
            monkeypatch.setenv(f"CECOCHAT_{name.upper()}", str(file))

        async def messaging_has_told() -> bool:
            """Once the copy is there; until then, it says that bob waits for it."""
            asked = await asyncio.to_thread(CliRunner().invoke, app([]), words)
            assert asked.exit_code == 0, asked.output
            return "no live session" in asked.output

        await eventually(messaging_has_told)


def session_of(
    url: str, context: ssl.SSLContext, before: ssl.SSLSession | None = None
) -> ssl.SSLSession | None:
    """Of a connection on which something was answered. Raises OSError."""
    host, port = urlsplit(url).hostname or "", urlsplit(url).port or 0
    with (
        socket.create_connection((host, port), 10) as plain,
        context.wrap_socket(plain, server_hostname=host, session=before) as encrypted,
    ):
        encrypted.sendall(f"GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        if not (answer := encrypted.recv(1_000)):
            raise ConnectionResetError("it was ended without an answer")
        assert answer.startswith(b"HTTP/1.1 200")
        return encrypted.session


@pytest.mark.parametrize("given", [("CA",), ("CERT", "KEY"), ("CA", "CERT")])
def test_all_three_files_or_none(given: tuple[str, ...]) -> None:
    named = {f"CECOCHAT_INTERNAL_{each}_FILE": "/x.pem" for each in given}
    with pytest.raises(InvalidSettings, match="needs three files"):
        load(named)
