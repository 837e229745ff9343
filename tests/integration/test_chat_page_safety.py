"""At the chat page: messages and users are reported, users are blocked, requests are accepted."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Browser, Locator, expect

from tests.support import chatpage
from tests.support.axe import violations
from tests.support.chatpage import PHONE, WITHIN_MS, Person
from tests.support.commands import rows, run
from tests.support.server import Server

MENU = "Settings of this chat"


async def chooses_of_menu(person: Person, what: str) -> None:
    await person.page.get_by_role("button", name=MENU).click()
    await person.page.get_by_role("button", name=what, exact=True).click()


async def reports(server: Server) -> list[tuple[Any, ...]]:
    """Who is reported for what, as moderators see it."""
    names = ("user_id", "reason", "text", "message_id")
    found = await rows(server, "moderate", "reports", "--json")
    return [tuple(each.get(name) for name in names) for each in found]


def form(person: Person, user: str) -> Locator:
    return person.page.get_by_role("group", name=f"Report {user}")


def requests(person: Person) -> Locator:
    return person.page.get_by_role("button", name="Requests")


async def test_a_message_is_reported_by_keyboard_and_its_sender_blocked(
    alice: Person, bob: Person, server: Server
) -> None:
    await bob.begins_to_tell(alice, "buy my pills")
    keyboard = alice.page.keyboard
    await alice.lines.focus()
    await keyboard.press("Enter")
    await keyboard.press("Enter")
    acts = alice.page.get_by_role("group", name="Actions")
    await acts.get_by_role("button", name="Report").focus()
    await keyboard.press("Enter")
    reason = form(alice, "bob").get_by_label("What is wrong with this message?")
    await expect(reason).to_be_focused()
    await keyboard.press("Escape")
    await expect(form(alice, "bob")).to_have_count(0)
    await expect(alice.page.locator(".more").last).to_be_focused()
    await keyboard.press("Enter")
    await acts.get_by_role("button", name="Report").click()
    await reason.select_option("Insults or hatred")
    await form(alice, "bob").get_by_label("More about it").fill("every day")
    await keyboard.press("Enter")
    await expect(form(alice, "bob").get_by_role("status")).to_contain_text("Thank you")
    await expect(form(alice, "bob").get_by_role("button", name="Done")).to_be_focused()
    ((user, why, text, message_id),) = await reports(server)
    assert (user, why, text) == ("bob", "abuse", "every day")
    assert message_id != "0"
    await form(alice, "bob").get_by_role("button", name="Block bob").click()
    await expect(alice.page.get_by_text("You have blocked bob")).to_be_visible()
    await expect(alice.page.get_by_role("log")).to_have_text("bob is blocked")
    assert alice.violations == []


async def test_a_user_is_blocked_and_unblocked(alice: Person, bob: Person, server: Server) -> None:
    await bob.begins_to_tell(alice, "psst")
    await chooses_of_menu(alice, "Block bob")
    await expect(alice.field("bob")).to_have_count(0)
    await alice.page.reload()
    await expect(alice.page.get_by_text("You have blocked bob")).to_be_visible()
    await run(server, "send", "--as", "dave", "alice", "hello")  # a new session knows it at once
    await chooses_of_menu(alice, "Unblock bob")
    await expect(alice.field("bob")).to_be_visible()
    await chooses_of_menu(alice, "Report bob")
    await form(alice, "bob").get_by_role("button", name="Report", exact=True).click()
    await form(alice, "bob").get_by_role("button", name="Done").click()
    await expect(form(alice, "bob")).to_have_count(0)
    await expect(alice.page.get_by_role("button", name=MENU)).to_be_focused()
    assert await reports(server) == [("bob", "spam", "", "0")]


async def test_a_user_whom_another_device_blocks_is_blocked_once_the_page_is_looked_at_again(
    alice: Person, bob: Person, server: Server
) -> None:
    await bob.begins_to_tell(alice, "psst")
    phone = await chatpage.at(alice.page.context, "alice", alice.url)
    await phone.chooses("bob")
    await chooses_of_menu(phone, "Block bob")
    await expect(phone.page.get_by_text("You have blocked bob")).to_be_visible()
    await alice.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await expect(alice.page.get_by_text("You have blocked bob")).to_be_visible()


async def test_what_does_not_work_is_said(alice: Person, bob: Person, server: Server) -> None:
    await bob.begins_to_tell(alice, "psst")
    await server.kill()
    await expect(alice.page.locator(".connection")).to_contain_text("No connection")
    await chooses_of_menu(alice, "Block bob")
    await expect(alice.page.locator(".conversation > .wrong")).not_to_be_empty(timeout=WITHIN_MS)
    await expect(alice.field("bob")).to_be_visible()


async def ask(server: Server, person: Person, *texts: str) -> None:
    """Have eve, to whom nobody has written, write to somebody."""
    for text in texts:
        await run(server, "send", "--as", "eve", person.user, text)
    await expect(requests(person)).to_be_visible(timeout=WITHIN_MS)


@pytest.fixture
async def strict(server: Server) -> Server:
    await run(server, "config", "set", "strangers.messages_max", "2")
    return server


async def test_requests_are_apart_and_can_be_accepted(strict: Server, alice: Person) -> None:
    await alice.begins("bob")
    await alice.says("bob", "hello, bob")
    await ask(strict, alice, "Do you know me?", "Look at this!")
    await expect(alice.page).to_have_title("alice · CecoChat")
    names = alice.page.locator(".chat .name")
    await expect(names).to_contain_text(["bob"])
    await requests(alice).click()
    await expect(names).to_contain_text(["eve", "bob"])
    await alice.entry("eve").click()
    asked = alice.page.get_by_role("group", name="Request")
    await expect(asked).to_contain_text("You have never written to eve")
    await alice.sees("Do you know me?", "Look at this!")
    await expect(alice.entry("eve").locator(".badge")).to_have_text("2 unread")
    await asked.get_by_role("button", name="Accept").press("Enter")
    await expect(alice.field("eve")).to_be_visible()
    await expect(requests(alice)).to_have_count(0)
    await expect(alice.entry("eve").locator(".badge")).to_have_count(0)
    await alice.page.reload()
    await expect(alice.field("eve")).to_be_visible()
    await expect(requests(alice)).to_have_count(0)
    await run(strict, "send", "--as", "eve", "alice", "Thank you")
    await alice.sees("Do you know me?", "Look at this!", "Thank you")
    assert alice.violations == []


async def test_the_field_stays_with_who_writes_while_a_request_comes(
    strict: Server, alice: Person
) -> None:
    await alice.begins("eve")
    await alice.field("eve").type("Are you t")
    await run(strict, "send", "--as", "eve", "alice", "Do you know me?")
    await alice.sees("Do you know me?")
    await expect(requests(alice)).to_be_visible()
    await alice.page.keyboard.type("here?")
    await alice.page.keyboard.press("Enter")
    await alice.sees("Do you know me?", "Are you there?")
    await expect(requests(alice)).to_have_count(0)


async def test_a_request_is_reported_and_blocked(strict: Server, alice: Person) -> None:
    await ask(strict, alice, "Buy my pills")
    await requests(alice).click()
    await alice.entry("eve").click()
    asked = alice.page.get_by_role("group", name="Request")
    await asked.get_by_role("button", name="Report").click()
    await form(alice, "eve").get_by_role("button", name="Report", exact=True).click()
    await form(alice, "eve").get_by_role("button", name="Block eve").click()
    await expect(alice.page.get_by_text("You have blocked eve")).to_be_visible()
    await alice.goes_to("bob")
    await expect(requests(alice)).to_have_count(0)
    assert await reports(strict) == [("eve", "spam", "", "0")]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_axe_finds_nothing_where_a_request_is_and_is_reported(
    chromium: Browser, strict: Server, axe: str, dark: bool
) -> None:
    async with chatpage.window(chromium, size=PHONE, dark=dark) as context:
        alice = await chatpage.at(context, "alice", strict.connect_url)
        await ask(strict, alice, "Buy my pills")
        await requests(alice).click()
        assert await violations(alice.page, axe) == []
        await alice.entry("eve").click()
        await alice.sees("Buy my pills")
        assert await violations(alice.page, axe) == []
        await alice.page.locator(".more").click()
        await alice.page.get_by_role("group", name="Actions").get_by_text("Report").click()
        await expect(form(alice, "eve")).to_be_visible()
        assert await violations(alice.page, axe) == []
        width = await alice.page.evaluate("document.documentElement.scrollWidth")
        assert width == PHONE["width"]
