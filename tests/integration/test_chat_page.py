"""What a connect server in development sends for the chat page, and what that may do."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from cecochat import __version__
from cecochat.servers.connect.page import FOLDER
from tests.integration.systems import Running, running

KINDS = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.fixture
async def client(up: Running) -> AsyncIterator[httpx.AsyncClient]:
    """A browser without scripts."""
    url = up.addresses.connect
    async with httpx.AsyncClient(base_url=url, headers=BROWSER, timeout=30) as client:
        yield client


def loaded(html: str) -> list[str]:
    return re.findall(r'(?:src|href)="([^"]*)"', html)


def policy(answer: httpx.Response) -> dict[str, str]:
    said = answer.headers["content-security-policy"].split("; ")
    return dict(each.split(" ", 1) for each in said)


async def test_the_page_loads_its_own_files_and_nothing_else(client: httpx.AsyncClient) -> None:
    page = await client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    names = loaded(page.text)
    assert sorted(names) == sorted(
        f"page/{path.name}" for path in FOLDER.iterdir() if path.suffix != ".html"
    )
    for name in names:
        file = await client.get(f"/{name}")
        assert file.status_code == 200
        assert file.content == (FOLDER / name.removeprefix("page/")).read_bytes()
        assert "immutable" in file.headers["cache-control"]
        assert file.headers["x-content-type-options"] == "nosniff"
    kinds = {
        Path(name).suffix: (await client.get(f"/{name}")).headers["content-type"] for name in names
    }
    assert kinds == {
        ".js": "text/javascript; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".svg": "image/svg+xml",
    }


async def test_its_policy_names_what_it_needs_and_nothing_else(
    client: httpx.AsyncClient, up: Running
) -> None:
    page = await client.get("/")
    reached = {"'self'", *map(origin, (up.addresses.websocket, up.addresses.history_http))}
    said = policy(page)
    assert set(said.pop("connect-src").split()) == reached
    assert said == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert page.headers["x-content-type-options"] == "nosniff"
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["vary"] == "accept, origin"


def origin(url: str) -> str:
    parts = httpx.URL(url)
    return f"{parts.scheme}://{parts.netloc.decode()}"


async def test_a_stranger_learns_nothing_from_it(client: httpx.AsyncClient, up: Running) -> None:
    text = (await client.get("/")).text
    assert __version__ not in text
    assert str(up.addresses.token_secret_file) not in text


@pytest.mark.parametrize("host", ["localhost:{port}", "evil.example", "127.0.0.1"])
async def test_by_another_name_a_browser_is_sent_to_its_own_address(
    client: httpx.AsyncClient, up: Running, host: str
) -> None:
    port = httpx.URL(up.addresses.connect).port
    answer = await client.get("/", headers={"host": host.format(port=port)})
    assert answer.status_code == 302
    assert answer.headers["location"] == up.addresses.connect


@pytest.mark.parametrize(
    "path", ["nothing.js", "index.html", "..%2Fpage.py", "%2e%2e/page.py", ".", "main", "%00"]
)
async def test_there_is_no_other_file(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(f"/page/{path}")
    assert answer.status_code == 404


@pytest.mark.parametrize("accept", ["*/*", "application/json", "", "text/plain"])
async def test_a_program_gets_a_typed_error(client: httpx.AsyncClient, accept: str) -> None:
    answer = await client.get("/", headers={"accept": accept})
    assert answer.status_code == 404
    assert "/v1/connect" in answer.json()["error"]["message"]


async def test_it_can_be_switched_off(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "data", chat_page=False) as system,
        httpx.AsyncClient(timeout=30) as client,
    ):
        assert system.addresses.page == ""
        page = await client.get(system.addresses.connect, headers=BROWSER)
        assert "<script" not in page.text
        for path in FOLDER.iterdir():
            file = await client.get(f"{system.addresses.connect}/page/{path.name}")
            assert file.status_code == 404
