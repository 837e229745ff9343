"""The chat page by keyboard, on a phone, with a screen reader, and before all of it is there."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, BrowserContext, Page, Route, ViewportSize, expect

from tests.support import chatpage
from tests.support.axe import violations
from tests.support.chatpage import PHONE, TOO_LONG, WITHIN_MS, Person
from tests.support.commands import run
from tests.support.server import Server


async def test_the_keyboard_is_enough(
    windows: tuple[BrowserContext, BrowserContext], server: Server
) -> None:
    page = await windows[0].new_page()
    alice = Person("alice", server.connect_url, page)
    keyboard = page.keyboard
    await page.goto(server.connect_url)
    await expect(page.get_by_label("Your name")).to_be_focused()
    await keyboard.type("alice")
    await keyboard.press("Enter")
    await expect(alice.find).to_be_visible()
    for name in ("bob", "carol"):
        await keyboard.press("Control+k")
        await expect(alice.find).to_be_focused()
        await keyboard.type(name)
        await keyboard.press("Enter")
        await expect(alice.field(name)).to_be_focused()
        await keyboard.type("one")
        await keyboard.press("Shift+Enter")
        await keyboard.type("two")
        await keyboard.press("Enter")
        await alice.sees("one\ntwo")
    await keyboard.press("Alt+ArrowDown")
    await expect(alice.field("bob")).to_be_focused()
    await keyboard.press("Shift+Tab")
    await expect(alice.lines).to_be_focused()
    await keyboard.press("Escape")
    await expect(alice.field("bob")).to_be_focused()


async def test_what_is_typed_at_once_is_sent(
    windows: tuple[BrowserContext, BrowserContext], server: Server
) -> None:
    page = await windows[0].new_page()
    alice = Person("alice", server.connect_url, page)

    async def answers_late(route: Route) -> None:
        await page.wait_for_timeout(1_000)
        await route.continue_()

    await page.route("**/development/token", answers_late)
    await page.goto(f"{server.connect_url}/#/bob")
    await page.keyboard.type("alice")
    await page.keyboard.press("Enter")
    await expect(alice.field("bob")).to_be_focused(timeout=WITHIN_MS)
    await page.keyboard.type("one")
    await page.keyboard.press("Enter")
    await alice.sees("one")


async def test_a_phone_shows_one_thing_at_a_time(chromium: Browser, server: Server) -> None:
    async with chatpage.window(chromium, size=PHONE) as phone:
        alice = await chatpage.at(phone, "alice", server.connect_url)
        await alice.begins("bob")
        await expect(alice.find).to_be_hidden()
        await alice.says("bob", "x" * 500)
        await alice.sees("x" * 500)
        width = await alice.page.evaluate("document.documentElement.scrollWidth")
        assert width == PHONE["width"]
        await alice.page.get_by_label("Back to all chats").click()
        await expect(alice.find).to_be_visible()
        await expect(alice.field("bob")).to_be_hidden()
        await alice.page.go_back()
        await expect(alice.field("bob")).to_be_visible()


async def test_somebody_else_may_take_the_tab(alice: Person) -> None:
    await alice.begins("bob")
    await alice.page.get_by_label("Be somebody else").click()
    await alice.page.get_by_role("button", name="alice").click()
    await expect(alice.entry("bob")).to_have_count(0, timeout=WITHIN_MS)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [chatpage.DESKTOP, PHONE], ids=["desktop", "phone"])
async def test_axe_finds_nothing(
    chromium: Browser, server: Server, axe: str, size: ViewportSize, dark: bool
) -> None:
    async with chatpage.window(chromium, size=size, dark=dark) as context:
        page = await context.new_page()
        await page.goto(server.connect_url)
        await expect(page.get_by_label("Your name")).to_be_visible()
        await nothing_wrong(page, axe, "before there is a name")
        await page.close()
        await run(server, "send", "--as", "bob", "alice", "-", given="one\nhttps://example.com")
        alice = await chatpage.at(context, "alice", server.connect_url)
        await expect(alice.entry("bob")).to_be_visible()
        await nothing_wrong(alice.page, axe, "all chats")
        await alice.chooses("bob")
        await alice.says("bob", "an answer")
        await alice.sees_tick("Sent")
        await alice.says("bob", TOO_LONG)
        await expect(alice.page.locator(".refusal")).to_be_visible(timeout=WITHIN_MS)
        await nothing_wrong(alice.page, axe, "a chat")
        await server.kill()
        await expect(alice.page.locator(".connection")).to_contain_text("No connection")
        await nothing_wrong(alice.page, axe, "without a connection")


async def nothing_wrong(page: Page, axe: str, what: str) -> None:
    """Check all rules of axe-core."""
    assert await violations(page, axe) == [], what
