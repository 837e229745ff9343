"""Somebody at the chat page: what they do with mouse and keyboard, and what they see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from playwright.async_api import Browser, BrowserContext, Locator, Page, ViewportSize, expect

from tests.support.browser import troubles

DESKTOP = ViewportSize(width=1_200, height=760)
PHONE = ViewportSize(width=390, height=780)
TOO_LONG = "too long " * 2_000  # by `text.max_bytes`
WITHIN_MS = 60_000  # against a hang, no measure of speed
CONNECTION_LOST = ("net::ERR_", "WebSocket connection to", "a status of 503", "a status of 404")
"""How a console tells of a server that was away or not ready: a new group is not found at first."""


@dataclass
class Person:
    """A user at a page of a browser of its own, or of one with more pages."""

    user: str
    url: str
    page: Page
    troubles: list[str] = field(default_factory=list)

    async def opens(self) -> None:
        await self.page.goto(self.url)
        await self.page.get_by_label("Your name").fill(self.user)
        await self.page.get_by_role("button", name="Chat", exact=True).click()
        await self.is_there()

    async def begins(self, peer: str) -> None:
        await self.find.fill(peer)
        await self.page.keyboard.press("Enter")
        await expect(self.field(peer)).to_be_visible()

    async def chooses(self, peer: str) -> None:
        await self.entry(peer).click()
        await expect(self.field(peer)).to_be_visible()

    async def is_there(self) -> None:
        await expect(self.page.get_by_role("navigation", name="Chats")).to_be_visible()

    async def goes_to(self, peer: str) -> None:
        """Open a chat by its address."""
        await self.page.evaluate("peer => { location.hash = `#/${peer}` }", peer)
        await expect(self.field(peer)).to_be_visible()

    async def says(self, peer: str, text: str) -> None:
        await self.field(peer).fill(text)
        await self.field(peer).press("Enter")

    async def begins_to_tell(self, other: Person, text: str) -> None:
        """Begin a chat with somebody who opens it and sees the first message."""
        await self.begins(other.user)
        await self.says(other.user, text)
        await other.chooses(self.user)
        await other.sees(text)

    @property
    def find(self) -> Locator:
        return self.page.get_by_role("searchbox", name="Find or begin a chat")

    def field(self, peer: str) -> Locator:
        return self.page.get_by_label(f"Message to {peer}")

    def entry(self, peer: str) -> Locator:
        """The line of a chat in the list."""
        return self.page.locator(".chat").filter(has=self.page.locator(".name", has_text=peer))

    @property
    def said(self) -> Locator:
        return self.page.locator(".said")

    @property
    def lines(self) -> Locator:
        return self.page.locator(".lines")

    async def texts(self) -> list[str]:
        """All that the open chat shows, oldest first."""
        return await self.page.locator(".bubble").all_inner_texts()

    async def scrolled_through(self) -> list[str]:
        """All that the open chat has, back to where it begins."""
        begins = self.page.get_by_text("is where your chat").or_(
            self.page.get_by_text("Nothing has been said yet")
        )
        while not await begins.count():
            await self.lines.evaluate("each => { each.scrollTop = each.scrollTop < 9 ? 9 : 1 }")
            await self.page.wait_for_timeout(50)
        return await self.texts()

    async def has_connection(self) -> bool:
        return await self.page.locator(".connection.connected").count() > 0

    async def sees(self, *texts: str) -> None:
        """Wait until the open chat shows these texts in this order, and none besides."""
        await expect(self.page.locator(".bubble")).to_have_text(list(texts), timeout=WITHIN_MS)

    async def sees_tick(self, name: str) -> None:
        """Wait until the last own message has come this far."""
        tick = self.page.locator(".mine").last.get_by_role("img")
        await expect(tick).to_have_accessible_name(name, timeout=WITHIN_MS)

    async def is_connected(self) -> None:
        await expect(self.page.locator(".connection.connected")).to_be_attached(timeout=WITHIN_MS)

    @property
    def violations(self) -> list[str]:
        """What went wrong in the page, but for a server that was away."""
        return [each for each in self.troubles if not any(lost in each for lost in CONNECTION_LOST)]


async def at(context: BrowserContext, user: str, url: str) -> Person:
    """Somebody who has opened the page in a browser."""
    page = await context.new_page()
    page.set_default_timeout(WITHIN_MS)
    person = Person(user, url, page, troubles(page))
    await person.opens()
    return person


@asynccontextmanager
async def window(
    browser: Browser, *, size: ViewportSize = DESKTOP, dark: bool = False
) -> AsyncIterator[BrowserContext]:
    """A browser with storage of its own."""
    context = await browser.new_context(
        viewport=size, color_scheme="dark" if dark else "light", locale="en-GB"
    )
    try:
        yield context
    finally:
        await context.close()
