"""What was accepted just before a session, and is not in the history yet, is missed by nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import BrowserContext, expect

from cecochat.client import connect
from cecochat.servers.history.queries import Queries
from cecochat.servers.materialize.worker import Materializer
from tests.integration.systems import Running, running
from tests.support import chatpage


class Held:
    """Once `begin` was called, materialize writes nothing until the history was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._may_write = asyncio.Event()
        self._may_write.set()
        write, chats = Materializer._write, Queries.chats

        async def wait_and_write(*args: Any) -> None:
            await self._may_write.wait()
            await write(*args)

        async def answer(*args: Any) -> bytes:
            try:
                return await chats(*args)
            finally:
                self._may_write.set()

        monkeypatch.setattr(Materializer, "_write", wait_and_write)
        monkeypatch.setattr(Queries, "chats", answer)

    def begin(self) -> None:
        self._may_write.clear()


@pytest.fixture
async def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    return Held(monkeypatch)


@pytest.fixture
async def up(held: Held, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path / "data") as started:
        yield started


async def test_the_client_has_it_in_its_list(up: Running, held: Held) -> None:
    url = up.addresses.connect
    async with connect(url, up.token("alice"), listen=False) as alice:
        held.begin()
        sent = await alice.send("bob", "just before")
    async with connect(url, up.token("bob"), receipts=False) as bob:
        chats = await bob.chats()
    assert [chat.last_message.id for chat in chats] == [sent]


async def test_the_page_shows_it(
    up: Running, held: Held, windows: tuple[BrowserContext, BrowserContext]
) -> None:
    url = up.addresses.connect
    async with connect(url, up.token("alice"), listen=False) as alice:
        held.begin()
        await alice.send("bob", "just before")
    bob = await chatpage.at(windows[0], "bob", url)
    await expect(bob.entry("alice").locator(".badge")).to_have_text("1 unread")
    await bob.chooses("alice")
    await bob.sees("just before")


async def test_the_page_counts_no_message_that_is_deleted_meanwhile(
    up: Running, held: Held, windows: tuple[BrowserContext, BrowserContext]
) -> None:
    """It has none of the two, but their number."""
    url = up.addresses.connect
    async with connect(url, up.token("alice"), listen=False) as alice:
        first = await alice.send("bob", "one")
        await alice.send("bob", "two")
        bob = await chatpage.at(windows[0], "bob", url)
        await expect(bob.entry("alice").locator(".badge")).to_have_text("2 unread")
        held.begin()
        await alice.delete("bob", first)
        await expect(bob.entry("alice").locator(".badge")).to_have_text("1 unread")
