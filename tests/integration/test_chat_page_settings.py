"""Chats are muted, archived and pinned at the chat page."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, BrowserContext, Locator, expect

from tests.support import chatpage
from tests.support.axe import violations
from tests.support.chatpage import PHONE, WITHIN_MS, Person
from tests.support.commands import run
from tests.support.server import Server

MENU = "Settings of this chat"


async def sets(person: Person, peer: str, what: str) -> None:
    """Open a chat, and choose something of its menu."""
    await person.chooses(peer)
    await person.page.get_by_role("button", name=MENU).click()
    await person.page.get_by_role("button", name=what, exact=True).click()
    await expect(person.page.get_by_role("group", name=MENU)).to_have_count(0)


async def lists(person: Person, *names: str) -> None:
    """Wait until the list shows these chats, in this order."""
    names_shown = person.page.locator(".chat .name")
    await expect(names_shown).to_have_text(list(names), timeout=WITHIN_MS)


async def reads(person: Person, peer: str, text: str) -> None:
    """Wait until a message of the chat that is open is seen, and counts as read."""
    await expect(person.page.locator(".bubble").last).to_have_text(text)
    await expect(person.entry(peer).locator(".badge")).to_have_count(0)


def archive(person: Person) -> Locator:
    return person.page.get_by_role("button", name="Archived")


async def are_told(server: Server, *users: str) -> None:
    """Each writes to alice, one after the other."""
    for user in users:
        await run(server, "send", "--as", user, "alice", f"I am {user}")


async def test_chats_are_pinned_and_archived_on_all_devices(
    alice: Person, windows: tuple[BrowserContext, BrowserContext], server: Server
) -> None:
    await are_told(server, "bob", "carol", "dave")
    other = await chatpage.at(windows[1], "alice", server.connect_url)
    for each in (alice, other):
        await lists(each, "dave", "carol", "bob")
    await sets(alice, "bob", "Pin to the top")
    for each in (alice, other):
        await lists(each, "bob", "dave", "carol")
        await expect(each.entry("bob")).to_contain_text("pinned")
    await sets(other, "dave", "Archive")
    for each in (alice, other):
        await lists(each, "bob", "carol")
        await expect(archive(each)).to_have_attribute("aria-expanded", "false")
    await expect(other.page.get_by_role("heading", name="dave")).to_be_visible()
    await alice.find.fill("dave")
    await lists(alice, "dave")
    await alice.find.fill("")
    await archive(alice).click()
    await lists(alice, "bob", "carol", "dave")
    await alice.page.reload()
    await lists(alice, "bob", "carol")
    await archive(alice).click()
    await sets(alice, "dave", "Take out of the archive")
    await sets(alice, "bob", "Unpin")
    for each in (alice, other):
        await lists(each, "dave", "carol", "bob")
        await expect(archive(each)).to_have_count(0)
        assert each.violations == []


async def test_a_muted_chat_is_counted_and_not_announced(alice: Person, bob: Person) -> None:
    await bob.begins("alice")
    await bob.says("alice", "before")
    await sets(alice, "bob", "Mute")
    await reads(alice, "bob", "before")
    await alice.goes_to("carol")
    await bob.says("alice", "psst")
    badge = alice.entry("bob").locator(".badge")
    await expect(badge).to_have_text("1 unread", timeout=WITHIN_MS)
    await expect(badge).to_have_class("badge muted")
    await expect(alice.entry("bob")).to_contain_text("muted")
    announced = alice.page.get_by_role("log")
    await expect(announced).to_have_text("bob: muted")
    await expect(alice.page).to_have_title("alice · CecoChat")
    await sets(alice, "bob", "Unmute")
    await reads(alice, "bob", "psst")
    await alice.goes_to("carol")
    await bob.says("alice", "Hello")
    await expect(announced).to_have_text("bob: Hello", timeout=WITHIN_MS)
    await expect(alice.page).to_have_title("(1) alice · CecoChat")
    await expect(badge).to_have_class("badge")


async def test_a_chat_is_heard_again_once_its_time_has_come(
    windows: tuple[BrowserContext, BrowserContext], server: Server
) -> None:
    await are_told(server, "bob")
    await windows[0].clock.install()
    alice = await chatpage.at(windows[0], "alice", server.connect_url)
    await sets(alice, "bob", "Mute for 8 hours")
    await expect(alice.entry("bob")).to_contain_text("muted")
    await alice.page.get_by_role("button", name=MENU).click()
    await expect(alice.page.get_by_role("group", name=MENU)).to_contain_text("Muted until")
    await windows[0].clock.fast_forward("08:00:01")
    await expect(alice.entry("bob")).not_to_contain_text("muted")
    await expect(alice.page.get_by_role("button", name="Mute for 8 hours")).to_be_visible()


async def test_the_menu_works_by_keyboard(alice: Person, server: Server) -> None:
    await are_told(server, "carol", "bob")
    await alice.chooses("carol")
    button = alice.page.get_by_role("button", name=MENU)
    menu = alice.page.get_by_role("group", name=MENU)
    await button.focus()
    await alice.page.keyboard.press("Enter")
    await alice.page.keyboard.press("Tab")
    await expect(menu.get_by_role("button", name="Pin to the top")).to_be_focused()
    await alice.page.keyboard.press("Escape")
    await expect(menu).to_have_count(0)
    await expect(button).to_be_focused()
    await alice.page.keyboard.press("Enter")
    await alice.page.keyboard.press("Tab")
    await alice.page.keyboard.press("Enter")
    await lists(alice, "carol", "bob")
    await expect(button).to_be_focused()
    await button.click()
    await alice.field("carol").click()
    await expect(menu).to_have_count(0)


async def test_what_is_set_while_there_is_no_server_is_shown_and_kept(
    alice: Person, windows: tuple[BrowserContext, BrowserContext], server: Server
) -> None:
    await are_told(server, "bob", "carol")
    await lists(alice, "carol", "bob")
    await alice.chooses("bob")
    await server.kill()
    await expect(alice.page.locator(".connection")).to_contain_text("No connection")
    await sets(alice, "bob", "Pin to the top")
    await sets(alice, "bob", "Mute")
    await lists(alice, "bob", "carol")
    await server.start()
    other = await chatpage.at(windows[1], "alice", server.connect_url)
    await lists(other, "bob", "carol")
    await expect(other.entry("bob")).to_contain_text("muted")
    await lists(alice, "bob", "carol")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_axe_finds_nothing_in_the_menu_and_the_archive(
    chromium: Browser, server: Server, axe: str, dark: bool
) -> None:
    await are_told(server, "bob", "carol")
    await run(server, "set", "--as", "alice", "bob", "--mute", "forever", "--pinned")
    await run(server, "set", "--as", "alice", "carol", "--archived")
    async with chatpage.window(chromium, size=PHONE, dark=dark) as context:
        alice = await chatpage.at(context, "alice", server.connect_url)
        await lists(alice, "bob")
        await archive(alice).click()
        await lists(alice, "bob", "carol")
        assert await violations(alice.page, axe) == []
        await alice.chooses("bob")
        await alice.sees("I am bob")
        await alice.page.get_by_role("button", name=MENU).click()
        await expect(alice.page.get_by_role("button", name="Unmute")).to_be_visible()
        assert await violations(alice.page, axe) == []
        width = await alice.page.evaluate("document.documentElement.scrollWidth")
        assert width == PHONE["width"]
