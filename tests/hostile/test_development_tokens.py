"""Whoever may not have a development token: other pages, other users, and every other system."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from cecochat.run.system import Addresses
from cecochat.servers.connect import development
from cecochat.servers.connect.development import PATH, PROXIED
from cecochat.servers.connect.peer import Address, user_of
from cecochat.settings.development import signs_tokens
from cecochat.settings.settings import Settings, made
from tests.integration.systems import Running, running
from tests.support.eventually import eventually
from tests.support.hostile import LEAKED

NOBODY = 65_534


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path / "data") as started:
        yield started


def page_of(addresses: Addresses) -> dict[str, str]:
    """The headers that a browser sends for our own page."""
    return {
        "origin": addresses.connect,
        "sec-fetch-site": "same-origin",
        "content-type": "application/json",
    }


async def asked(
    addresses: Addresses, headers: Mapping[str, str], body: Any = b'{"user": "alice"}'
) -> httpx.Response:
    async with httpx.AsyncClient(timeout=60) as client:
        return await client.post(f"{addresses.connect}{PATH}", headers=headers, content=body)


def refused(answer: httpx.Response, status: int) -> str:
    """What it says, if it says nothing else and to nobody else."""
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"error"}
    message = str(answer.json()["error"]["message"])
    assert not LEAKED.search(message)
    return message


async def test_our_own_page_gets_a_token_that_works(up: Running) -> None:
    answer = await asked(up.addresses, page_of(up.addresses))
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    token, system = answer.json()["token"], answer.json()["system"]
    assert up.secret.decode() not in f"{token} {system}"
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["sub"] == "alice"
    assert claims["exp"] - claims["iat"] == development.LIFETIME_S
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {token}"}) as client:
        found = await client.get(f"{up.addresses.connect}/v1/connect")
    assert found.json()["user_id"] == "alice"


# -- hostile pages


FOREIGN = {
    "another site": "https://evil.example",
    "another port of this machine": "http://127.0.0.1:1",
    "another name of this machine": "http://localhost:{port}",
    "a name that begins like ours": "http://127.0.0.1:{port}.evil.example",
    "another scheme": "https://127.0.0.1:{port}",
    "a frame without an origin": "null",
    "nothing": "",
    "two": "http://127.0.0.1:{port}, http://127.0.0.1:{port}",
    "upper case": "HTTP://127.0.0.1:{port}",
    "a path": "http://127.0.0.1:{port}/",
}


@pytest.mark.parametrize("origin", FOREIGN.values(), ids=FOREIGN)
async def test_no_other_page_gets_one(up: Running, origin: str) -> None:
    port = httpx.URL(up.addresses.connect).port
    headers = page_of(up.addresses) | {"origin": origin.format(port=port)}
    refused(await asked(up.addresses, headers), 403)


NAMED = ["https://product.example", "http://localhost:{port}"]
"""Pages that may chat there: one by the configuration, one since it has another name of ours."""


@pytest.mark.parametrize("origin", NAMED)
async def test_nor_do_pages_that_may_chat(up: Running, origin: str) -> None:
    await up.configure({"web.origins": NAMED[0]})
    headers = page_of(up.addresses) | {"origin": origin.format(port=port_of(up))}
    await eventually(lambda: let_in(up, headers))
    answer = await asked(up.addresses, headers)
    assert answer.status_code == 403
    assert "own address" in answer.json()["error"]["message"]


def port_of(system: Running) -> int:
    port = httpx.URL(system.addresses.connect).port
    assert port
    return port


async def let_in(system: Running, headers: Mapping[str, str]) -> bool:
    """Whether a page may ask where to go."""
    async with httpx.AsyncClient(headers=headers) as client:
        return (await client.get(f"{system.addresses.connect}/v1/connect")).status_code == 401


async def test_without_an_origin_nobody_gets_one(up: Running) -> None:
    headers = page_of(up.addresses)
    del headers["origin"]
    refused(await asked(up.addresses, headers), 403)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", ""])
async def test_what_a_browser_knows_to_be_foreign_gets_none(up: Running, site: str) -> None:
    refused(await asked(up.addresses, page_of(up.addresses) | {"sec-fetch-site": site}), 403)


HOSTS = [
    "evil.example", "evil.example:{port}", "localhost:{port}", "127.0.0.1", "127.0.0.1:1",
    "127.0.0.1:{port}.", "", "[::1]",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
async def test_a_name_that_somebody_else_led_here_gets_none(up: Running, host: str) -> None:
    """DNS rebinding: the browser holds the page for one of this server's, under another name."""
    port = httpx.URL(up.addresses.connect).port
    named = host.format(port=port)
    for origin in (up.addresses.connect, f"http://{named}"):
        headers = page_of(up.addresses) | {"host": named, "origin": origin}
        answer = await asked(up.addresses, headers)
        assert answer.status_code in (400, 403), answer.text
        assert "token" not in answer.json()


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data",
             "application/json; charset=utf-8", "text/plain, application/json"]
)  # fmt: skip
async def test_what_a_page_may_send_anywhere_gets_none(up: Running, kind: str) -> None:
    headers = page_of(up.addresses) | {"content-type": kind}
    refused(await asked(up.addresses, headers), 400)


async def test_no_browser_is_told_that_others_may_ask(up: Running) -> None:
    """A preflight is answered with nothing that would let a foreign page go on."""
    headers = {
        "origin": "https://evil.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "content-type",
    }
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.options(f"{up.addresses.connect}{PATH}", headers=headers)
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "DELETE"])
async def test_no_other_method_gets_one(up: Running, method: str) -> None:
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.request(
            method, f"{up.addresses.connect}{PATH}?user=alice", headers=page_of(up.addresses)
        )
    assert answer.status_code == 405


@pytest.mark.parametrize("name", PROXIED)
async def test_what_a_proxy_passes_on_gets_none(up: Running, name: str) -> None:
    refused(await asked(up.addresses, page_of(up.addresses) | {name: "1.2.3.4"}), 403)


# -- who it is for


BODIES = [
    b"", b"{", b"[]", b"1", b"null", b'"alice"', b"{}", b'{"user": 1}', b'{"user": null}',
    b'{"user": ["alice"]}', b'{"user": "alice", "sid": "x"}', b'{"User": "alice"}', b"\xff\xfe",
    b'{"user": "alice"} {}',
]  # fmt: skip
NAMES = ["", " ", "a b", "alice\n", "alice\u0000", "a~b", "ä", "\ud800", "<b>", "x" * 65, "A/b"]


@pytest.mark.parametrize("body", [*BODIES, *(json.dumps({"user": name}) for name in NAMES)])
async def test_a_body_that_names_no_user_gets_none(up: Running, body: str | bytes) -> None:
    refused(await asked(up.addresses, page_of(up.addresses), body), 400)


async def test_too_much_gets_none(up: Running) -> None:
    body = json.dumps({"user": "x" * 100_000})
    refused(await asked(up.addresses, page_of(up.addresses), body), 413)


# -- other users of this machine


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask as another user: run as root")
async def test_another_user_of_this_machine_gets_none(up: Running) -> None:
    """Who may not read the secret in the data folder may have no token either."""
    assert await asyncio.to_thread(status_over, socket.socket(), up.addresses) == 200
    assert await asyncio.to_thread(status_over, socket_of(NOBODY), up.addresses) == 403


def socket_of(user: int) -> socket.socket:
    """A socket as another user's process opens it."""
    before = os.geteuid()
    os.seteuid(user)
    try:
        return socket.socket()
    finally:
        os.seteuid(before)


def status_over(unconnected: socket.socket, addresses: Addresses) -> int:
    """What our page's request is answered over a socket."""
    url = httpx.URL(addresses.connect)
    with unconnected as sock:
        sock.connect((url.host, url.port))
        connection = http.client.HTTPConnection(url.host, url.port)
        connection.sock = sock
        connection.request("POST", PATH, '{"user": "alice"}', page_of(addresses))
        return connection.getresponse().status


async def test_a_caller_who_cannot_be_named_gets_none(
    up: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where there is no /proc, or somebody asks from another network namespace."""
    monkeypatch.setattr("cecochat.servers.connect.peer.TABLES", (Path("/nowhere"),))
    assert "cecochat token" in refused(await asked(up.addresses, page_of(up.addresses)), 403)


def test_a_socket_is_known_by_both_ends_and_only_while_it_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "tcp"
    row = " 0: {} {} {} 00000000:00000000 00:00000000 00000000 {} 0 1 1 0 20 4 0 10 -1\n"
    client, server = Address("127.0.0.1", 40_000), Address("127.0.0.1", 8_080)
    monkeypatch.setattr("cecochat.servers.connect.peer.TABLES", (table,))
    here, there, mapped = "0100007F:9C40", "0100007F:1F90", "0000000000000000FFFF00000100007F"

    def found(*rows: tuple[str, str, str, int]) -> int | None:
        table.write_text("  sl  local ...\n" + "".join(row.format(*each) for each in rows))
        return user_of(client, server)

    assert found((here, there, "01", 1_000)) == 1_000
    assert found((f"{mapped}:9C40", f"{mapped}:1F90", "01", 1_000)) == 1_000
    assert found((there, here, "01", 1_000)) is None, "that is the server's own end"
    assert found((here, there, "06", 0)) is None, "it has gone, and nobody owns it any more"
    assert found((here, "0100007F:1F91", "01", 1_000)) is None
    assert found(("0200007F:9C40", there, "01", 1_000)) is None
    assert found() is None


# -- systems that are not for development


def ours(**others: Any) -> Settings:
    return made(data_dir=Path("/made/up"), **others)


PRODUCTION: dict[str, dict[str, Any]] = {
    "switched off": {"chat_page": False},
    "keys in a file": {"jwks_file": Path("/etc/jwks.json")},
    "keys at a URL": {"jwks_url": "https://keys.example"},
    "keys of a provider": {"oidc_issuer": "https://login.example"},
    "a secret that was given": {"token_secret_file": Path("/made/up/token-secret")},
    "all addresses": {"host": "0.0.0.0"},
    "an address of a network": {"host": "10.0.0.5"},
    "clients are told another host": {"advertise_host": "chat.example.com"},
    "behind an edge": {"edge": "chat.example.com:443"},
    "backends that are shared": {"kafka": "kafka:9092"},
}


@pytest.mark.parametrize("given", PRODUCTION.values(), ids=PRODUCTION)
def test_only_development_signs_tokens(given: dict[str, Any]) -> None:
    assert signs_tokens(ours())
    assert not signs_tokens(ours(**given))


@pytest.mark.parametrize("name", ["switched off", "a secret that was given", "all addresses"])
async def test_elsewhere_there_is_no_such_path(tmp_path: Path, name: str) -> None:
    given = dict(PRODUCTION[name])
    if "token_secret_file" in given:
        given["token_secret_file"] = tmp_path / "given"
        given["token_secret_file"].write_text("x" * 64)
    async with running(tmp_path / "data", **given) as system:
        port = httpx.URL(system.addresses.connect).port
        async with httpx.AsyncClient(timeout=60) as client:
            answer = await client.post(f"http://127.0.0.1:{port}{PATH}", json={"user": "alice"})
        assert answer.status_code == 404, answer.text
