"""Messages are found by their words at the chat page."""

from __future__ import annotations

from playwright.async_api import Locator, expect

from tests.support.axe import violations
from tests.support.chatpage import WITHIN_MS, Person


def hits(person: Person) -> Locator:
    return person.page.get_by_role("region", name="Messages").get_by_role("link")


async def test_the_field_finds_messages_below_the_chats(
    alice: Person, bob: Person, axe: str
) -> None:
    await bob.begins("alice")
    await bob.says("alice", "Pancakes at eight?")
    await alice.chooses("bob")
    await alice.says("bob", "I would rather have waffles")
    await alice.goes_to("carol")
    await alice.find.fill("PANCAKE")
    await expect(hits(alice)).to_have_count(1, timeout=WITHIN_MS)
    await expect(hits(alice)).to_contain_text("bob: Pancakes at eight?")
    assert await violations(alice.page, axe) == []
    await alice.find.fill("have waff")
    await expect(hits(alice)).to_contain_text("You: I would rather have waffles")
    await hits(alice).click()
    await expect(alice.page.get_by_role("heading", name="bob")).to_be_visible()
    await alice.find.fill("nothing such")
    await expect(hits(alice)).to_have_count(0)
    assert alice.violations == []
