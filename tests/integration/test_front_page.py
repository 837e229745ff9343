"""The page that a browser gets from a connect server, and what a program gets there."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import httpx
import pytest

from cecochat import __version__
from cecochat.servers.connect import front
from tests.integration.systems import Running, running
from tests.support.commands import run
from tests.support.server import Server, started

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Running]:
    """A system without the chat page, as in production."""
    async with running(tmp_path / "data", chat_page=False) as started:
        yield started


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with started(Server(tmp_path / "up", {"CECOCHAT_CHAT_PAGE": "false"})) as server:
        yield server


async def asked(url: str, headers: Mapping[str, str]) -> httpx.Response:
    async with httpx.AsyncClient(timeout=30) as client:
        return await client.get(url, headers=headers)


async def test_a_browser_gets_a_page_that_loads_nothing(up: Running) -> None:
    answer = await asked(f"{up.addresses.connect}/", BROWSER)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "<script" not in answer.text
    assert " on" + "click" not in answer.text
    loaded = re.findall(r"""(?:src|href|url\()[=\s]*["']?([^"'\s>)]*)""", answer.text)
    assert [each for each in loaded if not each.startswith(("/", "data:"))] == []
    assert f"cecochat chat --connect {up.addresses.connect} --as alice bob" in answer.text
    for path in ("/v1/connect", "/livez"):
        assert f'href="{path}"' in answer.text
        linked = await asked(f"{up.addresses.connect}{path}", BROWSER)
        assert linked.headers["content-type"] == "application/json"


async def test_the_command_that_it_shows_chats(server: Server) -> None:
    page = (await asked(f"{server.connect_url}/", BROWSER)).text
    commands = re.findall(r"<code>cecochat (chat [^<]*)</code>", page)
    assert len(commands) == 2
    for command in commands:
        out, _ = await run(server, *shlex.split(command), given="hello\n")
        assert "hello" in out


async def test_its_headers_allow_its_own_style_and_nothing_else(up: Running) -> None:
    answer = await asked(f"{up.addresses.connect}/", BROWSER)
    [style] = re.findall(r"<style>(.*?)</style>", answer.text, re.S)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = dict(
        each.strip().split(" ", 1) for each in answer.headers["content-security-policy"].split(";")
    )
    assert policy == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["vary"] == "accept, origin"


async def test_a_stranger_learns_nothing_from_it(up: Running) -> None:
    text = (await asked(f"{up.addresses.connect}/", BROWSER)).text
    internal = [up.addresses.messaging, up.addresses.history, *up.addresses.health.values()]
    assert [each for each in internal if each in text] == []
    assert __version__ not in text
    assert str(up.addresses.token_secret_file) not in text


@pytest.mark.parametrize(
    "host", ["<script>alert(1)</script>", "a?b c", "x" * 300, "host:123456", "$url", 'a"b', "a/b"]
)
async def test_what_is_no_host_is_not_repeated(up: Running, host: str) -> None:
    answer = await asked(f"{up.addresses.connect}/", {**BROWSER, "host": host})
    assert answer.status_code == 200
    assert host not in answer.text
    assert "--connect https://chat.example.com --token TOKEN" in answer.text


async def test_another_machine_is_told_to_bring_a_token(up: Running) -> None:
    text = (await asked(f"{up.addresses.connect}/", {**BROWSER, "host": "chat.test:80"})).text
    assert "cecochat chat --connect http://chat.test:80 --token TOKEN bob" in text


@pytest.mark.parametrize("accept", ["*/*", "application/json", "", "text/plain"])
async def test_a_program_gets_a_typed_error(up: Running, accept: str) -> None:
    answer = await asked(f"{up.addresses.connect}/", {"accept": accept})
    assert answer.status_code == 404
    assert "/v1/connect" in answer.json()["error"]["message"]


def test_it_says_what_does_not_answer() -> None:
    works = {"connect": True, "messaging": False, "history": True}
    states = front._states(works)
    assert ['class="no"' in state for state in states] == [False, True, False]
    assert "no messaging server is live" in states[1]
