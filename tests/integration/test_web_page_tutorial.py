"""The tutorial "Chat in your web page", as its readers go through it: what they type, and two
people in a real browser.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from scripts.protos import TYPESCRIPT
from tests.integration.test_docs import DEFAULT_FOLDER, ROOT, WEB_PAGE, here
from tests.support import npm
from tests.support.backends import Backends
from tests.support.browser import troubles
from tests.support.edge import free_address
from tests.support.examples import blocks, clean_environment, file_of, run
from tests.support.server import Server

EXAMPLE = ROOT / "examples" / "fastapi"
WRITTEN = "127.0.0.1:8000"
"""Where the page starts its back end; here somewhere else."""
HOLD = "```console\n$ touch running\n$ until [ -e done ]; do sleep 0.1; done\n```\n"
AWAY = re.compile(r"^waiting: the \w+ server at ")
WITHIN_MS = 60_000
TOO_LONG = 20_000
"""In bytes. A text has at most 16 KiB."""


def test_the_page_has_the_files_of_the_example() -> None:
    said = {file_of(block): block.body for block in blocks(WEB_PAGE.read_text())}
    files = {path.name: path.read_text() for path in EXAMPLE.iterdir() if path.is_file()}
    assert {name: body for name, body in said.items() if name} == files


def newcomer(home: Path, server: Path) -> None:
    """A home folder with a checkout, what `make up` has left there, and an empty folder."""
    default_folder = home / DEFAULT_FOLDER
    default_folder.parent.mkdir(parents=True)
    default_folder.symlink_to(server / "data")
    (home / ".venv").symlink_to(Path(sys.prefix))
    checkout = home / "cecochat" / "clients" / "typescript"
    generated = shutil.ignore_patterns("node_modules", "dist")
    shutil.copytree(TYPESCRIPT, checkout, ignore=generated)
    (checkout / "node_modules").symlink_to(npm.installed(TYPESCRIPT))
    (home / "web").mkdir()


@asynccontextmanager
async def followed(tmp_path: Path, server: Server, *further: Path) -> AsyncIterator[str]:
    """The page, and further ones, up to where their reader opens a browser. Yields the address of
    the back end.
    """
    home = server.folder.parent / "home"
    pages = "".join(page.read_text() for page in (WEB_PAGE, *further))
    written, address = here(pages, server), free_address()
    port = address.rpartition(":")[2]
    text = written.replace(WRITTEN, address).replace("--port 8000", f"--port {port}")
    environment = clean_environment(home) | {"npm_config_cache": str(npm.CACHE)}
    where = home / "web"
    following = asyncio.create_task(
        asyncio.to_thread(run, text + HOLD, tmp_path, environment, where=where)
    )
    try:
        while not (where / "running").exists():
            assert not following.done(), following.result()
            await asyncio.sleep(0.1)
        yield f"http://{address}"
    finally:
        (where / "done").touch()
        await following


async def logged_in(chromium: Browser, url: str, user: str, peer: str) -> Page:
    """A browser of its own, whose user chats with another one."""
    page = await (await chromium.new_context()).new_page()
    page.set_default_timeout(WITHIN_MS)
    await page.goto(url)
    await page.get_by_label("Your name").fill(user)
    await page.get_by_label("Chat with").fill(peer)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("status")).to_have_text("connected", timeout=WITHIN_MS)
    return page


async def write(page: Page, text: str) -> None:
    await page.get_by_label("Message").fill(text)
    await page.get_by_role("button", name="Send").click()


async def shows(page: Page, *lines: str) -> None:
    await expect(page.get_by_role("listitem")).to_have_text(list(lines), timeout=WITHIN_MS)


@pytest.mark.timeout(420)
async def test_two_people_chat_over_a_killed_server(
    tmp_path: Path, backends: Backends, chromium: Browser
) -> None:
    for program in ("curl", "node"):
        backends.program(program)
    home = tmp_path / "home"
    newcomer(home, tmp_path / "server")
    server = Server(tmp_path / "server", clean_environment(home))
    try:
        await server.start()
        async with followed(tmp_path, server) as url:
            alice = await logged_in(chromium, url, "alice", "bob")
            bob = await logged_in(chromium, url, "bob", "alice")
            found = [*map(troubles, (alice, bob))]
            await write(alice, "<b>hello</b>")
            await write(alice, "👋")
            said = ["alice: <b>hello</b>", "alice: 👋"]
            await shows(bob, *said)
            await shows(alice, *said)
            await write(alice, "x" * TOO_LONG)
            await expect(alice.get_by_role("alert")).to_contain_text("Not sent: xxx")
            assert found == [[], []]
            await server.kill()
            await expect(bob.get_by_role("status")).to_have_text(AWAY, timeout=WITHIN_MS)
            await write(bob, "while it was dead")
            await expect(bob.locator(".queued")).to_have_text("bob: while it was dead")
            await bob.reload()
            said.append("bob: while it was dead")
            await shows(bob, *said)
            await expect(bob.locator(".queued")).to_have_count(1)
            await server.start()
            await shows(alice, *said)
            await expect(bob.locator(".queued")).to_have_count(0, timeout=WITHIN_MS)
            await shows(bob, *said)
    finally:
        await server.release()
