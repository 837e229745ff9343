"""A headless Chromium, driven by Playwright. Playwright downloads no browser: it takes the one of
this machine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, Page, async_playwright, expect

# A container has no sandbox for root, and often a small /dev/shm.
ARGUMENTS = ("--no-sandbox", "--disable-dev-shm-usage")

expect.set_options(timeout=60_000)  # against a hang, no measure of speed; it was 5 s


@asynccontextmanager
async def browser(program: str) -> AsyncIterator[Browser]:
    """A browser of its own: `program` is where Chromium is."""
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            yield opened
        finally:
            await opened.close()


def troubles(page: Page) -> list[str]:
    """A list that takes up what goes wrong in a page from now on: errors that no script caught, and
    what the console is told as an error, such as a violation of the page's policy (CSP).
    """
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(f"{error.name}: {error.message}"))
    page.on("console", lambda said: found.append(said.text) if said.type == "error" else None)
    return found
