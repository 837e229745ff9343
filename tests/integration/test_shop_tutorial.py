"""The tutorial "Let your back end take part": a customer in a real browser, and a shop that takes
webhooks and sends.
"""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from playwright.async_api import Browser, Page, expect

from tests.integration.test_docs import ROOT, SHOP
from tests.integration.test_web_page_tutorial import (
    WITHIN_MS,
    followed,
    logged_in,
    newcomer,
    shows,
    write,
)
from tests.support.backends import Backends
from tests.support.eventually import eventually
from tests.support.examples import blocks, clean_environment, file_of
from tests.support.server import Server

EXAMPLE = ROOT / "examples" / "shop"


def test_the_page_has_the_files_of_the_example() -> None:
    said = {file_of(block): block.body for block in blocks(SHOP.read_text())}
    files = {path.name: path.read_text() for path in EXAMPLE.iterdir() if path.is_file()}
    assert {name: body for name, body in said.items() if name} == files


async def woken(url: str, alice: Page) -> None:
    """Once she has closed the page, and not while it was open: only what the tutorial types came
    before that.
    """
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:

        async def phone() -> str:
            return str((await client.get("/phones/alice")).json())

        assert await phone() == "1 new from shop"
        await alice.close()
        for number in "34":
            await client.post(f"/orders/{number}/sent", params={"customer": "alice"})

        async def rings() -> bool:
            return await phone() == "5 new from shop"  # the page marks nothing as read

        await eventually(rings, within_s=60, every_s=0.5)


@pytest.mark.timeout(420)
async def test_a_customer_writes_to_a_shop(
    tmp_path: Path, backends: Backends, chromium: Browser
) -> None:
    for program in ("curl", "node"):
        backends.program(program)
    home = tmp_path / "home"
    newcomer(home, tmp_path / "server")
    server = Server(tmp_path / "server", clean_environment(home))
    try:
        await server.start()
        async with followed(tmp_path, server, SHOP) as url:
            alice = await logged_in(chromium, url, "alice", "shop")
            said = ["shop: Order 1 is on its way"]  # what the tutorial types has come already
            await shows(alice, *said)
            await write(alice, "two apples")
            said += ["alice: two apples", "shop: Thank you! We have your order: two apples"]
            await shows(alice, *said)
            await server.kill()
            await server.start()
            await write(alice, "and a pear")
            said += ["alice: and a pear", "shop: Thank you! We have your order: and a pear"]
            await shows(alice, *said)
            async with httpx.AsyncClient(timeout=60) as client:
                forged = await client.post(f"{url}/hooks", json={"type": "message.created"})
                assert forged.status_code == 401
                for _ in "12":
                    await client.post(f"{url}/orders/1/sent", params={"customer": "alice"})
            await expect(alice.get_by_role("status")).to_have_text("connected", timeout=WITHIN_MS)
            await shows(alice, *said)
            await woken(url, alice)
    finally:
        await server.release()
