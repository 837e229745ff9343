"""Messages are edited, deleted, answered and reacted to at the chat page."""

from __future__ import annotations

from playwright.async_api import BrowserContext, Locator, expect

from tests.support import chatpage
from tests.support.axe import violations
from tests.support.chatpage import WITHIN_MS, Person
from tests.support.commands import run
from tests.support.server import Server


def said(person: Person, text: str) -> Locator:
    return person.said.filter(has_text=text)


async def does(person: Person, text: str, what: str) -> None:
    """Open what can be done with a message, and choose something."""
    await said(person, text).hover()
    await said(person, text).get_by_label("What to do with this message").first.click()
    await said(person, text).get_by_role("button", name=what, exact=True).click()


async def test_what_one_changes_the_other_sees(alice: Person, bob: Person, axe: str) -> None:
    await alice.begins("bob")
    await alice.says("bob", "frist")
    await bob.chooses("alice")
    await bob.sees("frist")
    await does(alice, "frist", "Edit")
    await alice.field("bob").fill("first")
    await alice.field("bob").press("Enter")
    for person in (alice, bob):
        await person.sees("first")
        await expect(said(person, "first")).to_contain_text("edited")
    await does(bob, "first", "React with 👍")
    await expect(said(alice, "first").get_by_label("👍 from bob")).to_be_visible()
    await said(alice, "first").get_by_label("👍 from bob").click()
    both = said(bob, "first").get_by_label("👍 from bob, alice")
    await expect(both).to_have_attribute("aria-pressed", "true")
    await both.click()
    await expect(said(alice, "first").get_by_label("👍 from alice")).to_be_visible()
    await does(bob, "first", "Reply")
    await bob.says("alice", "yes")
    await expect(said(alice, "yes").locator("blockquote")).to_have_text("alice first")
    await said(alice, "first").first.get_by_label("What to do with this message").click()
    assert await violations(alice.page, axe) == []
    await said(alice, "first").first.get_by_label("What to do with this message").press("Escape")
    await alice.page.reload()
    await expect(said(alice, "yes").locator("blockquote")).to_have_text("alice first")
    await expect(said(alice, "first").first).to_contain_text("edited")
    await said(alice, "first").first.get_by_label("What to do with this message").click()
    await said(alice, "first").first.get_by_role("button", name="Delete", exact=True).click()
    for person in (alice, bob):
        await expect(person.page.locator(".bubble").first).to_have_text("This message was deleted")
        await expect(person.page.locator("blockquote")).to_have_text("alice A deleted message")
    await bob.page.reload()
    await expect(bob.page.locator(".bubble").first).to_have_text(
        "This message was deleted", timeout=WITHIN_MS
    )
    assert alice.violations == bob.violations == []


async def test_the_last_own_message_is_edited_by_keyboard(alice: Person, bob: Person) -> None:
    await alice.begins("bob")
    await alice.says("bob", "mine")
    await bob.chooses("alice")
    await bob.says("alice", "not mine")
    await alice.sees("mine", "not mine")
    field = alice.field("bob")
    await field.press("ArrowUp")
    await expect(field).to_have_value("mine")
    await field.press("Escape")
    await expect(field).to_have_value("")
    await field.press("ArrowUp")
    await field.fill("still mine")
    await field.press("Enter")
    await bob.sees("still mine", "not mine")
    keyboard = alice.page.keyboard
    await keyboard.press("Shift+Tab")
    await expect(alice.lines).to_be_focused()
    for key in ("Enter", "ArrowUp", "Enter", "Tab", "Enter"):
        await keyboard.press(key)
    await expect(said(bob, "still mine").get_by_label("👍 from alice")).to_be_visible()


async def test_a_message_that_is_deleted_is_not_unread(alice: Person, bob: Person) -> None:
    await alice.begins("bob")
    await alice.says("bob", "hello")
    await expect(bob.entry("alice").locator(".badge")).to_have_text("1 unread", timeout=WITHIN_MS)
    await does(alice, "hello", "Delete")
    await expect(bob.entry("alice")).to_contain_text("A deleted message", timeout=WITHIN_MS)
    await expect(bob.entry("alice").locator(".badge")).to_have_count(0)


async def test_what_is_answered_is_shown_though_it_is_far_above(
    alice: Person, bob: Person, server: Server
) -> None:
    given = "".join(f"line {number}\n" for number in range(60))
    sent, _ = await run(server, "send", "--as", "alice", "bob", "long ago")
    answer = sent.strip()
    await run(server, "send", "--as", "alice", "bob", "-", given=given)
    await run(server, "send", "--as", "bob", "alice", "I remember", "--reply-to", answer)
    await bob.chooses("alice")
    await alice.chooses("bob")
    for person in (alice, bob):
        await expect(said(person, "I remember").locator("blockquote")).to_have_text(
            "alice long ago", timeout=WITHIN_MS
        )
    await run(server, "delete", "--as", "alice", "bob", answer)
    await expect(said(bob, "I remember").locator("blockquote")).to_have_text(
        "alice A deleted message", timeout=WITHIN_MS
    )


async def test_what_an_erased_user_wrote_is_shown_as_erased(
    server: Server, windows: tuple[BrowserContext, BrowserContext]
) -> None:
    """To somebody who had not seen it."""
    sent, _ = await run(server, "send", "--as", "alice", "bob", "gone soon")
    await run(server, "send", "--as", "bob", "alice", "an answer", "--reply-to", sent.strip())
    await run(server, "erase", "alice", "--yes")
    bob = await chatpage.at(windows[1], "bob", server.connect_url)
    await bob.chooses("alice")
    await expect(bob.page.locator(".bubble").first).to_have_text(
        "This message was erased", timeout=WITHIN_MS
    )
    await expect(bob.page.locator("blockquote")).to_have_text("alice An erased message")
    assert "gone soon" not in await bob.page.content()
