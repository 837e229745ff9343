"""The chat page, as people use it in a real browser on `cecochat up`."""

from __future__ import annotations

import re
from functools import partial

import pytest
from playwright.async_api import BrowserContext, expect

from cecochat.adapters.embedded.history import EmbeddedHistory
from cecochat.domain.log.ids import ChatId
from cecochat.ports.history import Hole
from tests.support import chatpage
from tests.support.chatpage import TOO_LONG, WITHIN_MS, Person
from tests.support.commands import run
from tests.support.eventually import eventually
from tests.support.pages import STORED
from tests.support.server import Server

CHAT = ChatId("d:alice~bob")


async def test_two_users_chat(alice: Person, bob: Person) -> None:
    await bob.is_connected()
    await alice.begins("bob")
    await alice.says("bob", "Are you there?")
    await alice.sees_tick("Delivered")
    await expect(bob.entry("alice").locator(".badge")).to_have_text(re.compile("1"))
    await expect(bob.entry("alice")).to_contain_text("Are you there?")
    await bob.chooses("alice")
    await bob.sees("Are you there?")
    await expect(bob.entry("alice").locator(".badge")).to_have_count(0)
    await alice.sees_tick("Read")
    await bob.says("alice", "Always.\nAnd you?")
    await alice.sees("Are you there?", "Always.\nAnd you?")
    await expect(alice.page.locator(".day")).to_have_text("Today")


async def test_a_chat_shows_who_is_there_and_types(alice: Person, bob: Person) -> None:
    await alice.begins("bob")
    await bob.begins("alice")
    await bob.is_connected()  # what is typed before that is not told
    head = alice.page.locator(".conversation .peer p")
    await expect(head).to_have_text("online", timeout=WITHIN_MS)
    await bob.field("alice").press("H")
    await expect(head).to_have_text("typing …", timeout=WITHIN_MS)
    await bob.field("alice").press("Backspace")
    await expect(head).to_have_text("online", timeout=WITHIN_MS)
    await bob.says("alice", "Hello")
    await alice.sees("Hello")
    await expect(alice.entry("bob").locator(".avatar.online")).to_have_count(1)
    await alice.goes_to("carol")

    async def is_seen_to_type() -> bool:
        await bob.field("alice").press("H")
        return "typing …" in await alice.entry("bob").inner_text()

    await eventually(is_seen_to_type, every_s=0.2)
    await bob.field("alice").fill("")
    await expect(alice.entry("bob")).to_contain_text("Hello", timeout=WITHIN_MS)
    await bob.page.close()
    await expect(alice.entry("bob").locator(".avatar.online")).to_have_count(0, timeout=WITHIN_MS)
    await alice.goes_to("bob")
    await expect(head).to_have_text(re.compile("last seen"))


async def test_a_reload_keeps_drafts_and_messages(alice: Person, bob: Person) -> None:
    await bob.is_connected()  # what came before is only in the history
    await alice.begins("bob")
    await alice.says("bob", "kept")
    await alice.sees_tick("Delivered")
    await alice.field("bob").fill("begun, but not")
    await alice.page.reload()
    await alice.sees("kept")
    await expect(alice.field("bob")).to_have_value("begun, but not")
    await alice.begins("carol")
    await expect(alice.entry("bob")).to_contain_text("Draft: begun, but not")
    await alice.chooses("bob")
    await alice.field("bob").press("Enter")
    await alice.sees("kept", "begun, but not")
    await bob.chooses("alice")
    await bob.sees("kept", "begun, but not")


async def test_a_killed_server_costs_nothing(alice: Person, bob: Person, server: Server) -> None:
    for person, peer in ((alice, "bob"), (bob, "alice")):
        await person.begins(peer)
        await person.is_connected()
    await alice.says("bob", "before")
    await bob.sees("before")
    await server.kill()
    await expect(alice.page.locator(".connection")).to_contain_text("No connection")
    await alice.says("bob", "meanwhile")
    await bob.says("alice", "I wrote, too")
    await alice.sees_tick("Waiting to be sent")
    await server.start()
    await alice.sees_tick("Read")
    await expect(alice.page.locator(".connection")).to_have_text("")
    for person in (alice, bob):
        await expect(person.page.locator(".bubble")).to_have_count(3, timeout=WITHIN_MS)
        assert sorted(await person.texts()) == ["I wrote, too", "before", "meanwhile"]


async def test_what_waits_survives_that_its_tab_is_closed(
    windows: tuple[BrowserContext, BrowserContext], alice: Person, bob: Person, server: Server
) -> None:
    await bob.is_connected()
    await alice.begins("bob")
    await alice.is_connected()
    await server.kill()
    await alice.says("bob", "never lost")
    await alice.sees_tick("Waiting to be sent")
    await eventually(partial(is_stored, alice, "never lost"))
    await alice.page.close()
    await server.start()
    again = await chatpage.at(windows[0], "alice", server.connect_url)
    await again.chooses("bob")
    await again.sees("never lost")
    await again.sees_tick("Delivered")
    await bob.chooses("alice")
    await bob.sees("never lost")


async def is_stored(person: Person, text: str) -> bool:
    """What is typed may be lost with its tab for a moment, until the browser has it."""
    found = await person.page.evaluate(STORED, [person.url, person.user])
    return text in found["waiting"]


async def test_tabs_of_one_user_agree(
    windows: tuple[BrowserContext, BrowserContext], alice: Person, bob: Person, server: Server
) -> None:
    other = await chatpage.at(windows[0], "alice", server.connect_url)
    await bob.begins("alice")
    await bob.says("alice", "to all of you")
    for tab in (alice, other):
        await expect(tab.entry("bob").locator(".badge")).to_have_text(re.compile("1"))
    await other.page.bring_to_front()
    await other.chooses("bob")
    await other.sees("to all of you")
    await bob.sees_tick("Read")
    await expect(alice.entry("bob").locator(".badge")).to_have_count(0)
    await other.says("bob", "from the other tab")
    await alice.page.bring_to_front()
    await alice.chooses("bob")
    await alice.sees("to all of you", "from the other tab")
    await other.page.close()
    await alice.says("bob", "and from this one")
    await bob.sees("to all of you", "from the other tab", "and from this one")
    assert other.violations == []


async def test_a_chat_that_was_answered_unread_can_be_opened(alice: Person, bob: Person) -> None:
    """The last line is one's own then, and what is unread lies before it."""
    await bob.is_connected()  # what came before is only in the history
    await alice.begins("bob")
    await alice.says("bob", "Are you there?")
    await bob.page.evaluate("document.hasFocus = () => false")  # and so reads nothing
    await bob.begins("alice")
    await bob.sees("Are you there?")
    await bob.says("alice", "Always.")
    await alice.sees("Are you there?", "Always.")
    await alice.sees_tick("Delivered")
    await bob.page.reload()
    await bob.sees("Are you there?", "Always.")
    await alice.sees_tick("Read")
    await expect(bob.entry("alice").locator(".badge")).to_have_count(0)


async def test_another_system_at_the_same_address_shows_nothing_of_this_one(
    windows: tuple[BrowserContext, BrowserContext], alice: Person, server: Server
) -> None:
    """Though a tab of the first one is still open."""
    await alice.begins("bob")
    await alice.says("bob", "of the first system")
    await alice.sees_tick("Sent")
    await server.terminate()
    server.data.rename(server.data.with_name("first"))
    await server.start()
    again = await chatpage.at(windows[0], "alice", server.connect_url)
    await again.begins("bob")
    await again.says("bob", "of the second")
    await again.sees_tick("Sent")
    await again.sees("of the second")


async def test_a_send_that_is_refused_says_why_and_can_be_tried_again(
    alice: Person, server: Server
) -> None:
    await alice.begins("bob")
    await alice.says("bob", TOO_LONG)
    refusal = alice.page.locator(".refusal")
    await expect(refusal).to_contain_text("Not sent: ", timeout=WITHIN_MS)
    await expect(refusal).to_contain_text("16384")
    await run(server, "config", "set", "text.max_bytes", "20000")
    await eventually(partial(is_sent_at_last, alice))
    await alice.sees(TOO_LONG)
    await alice.says("bob", TOO_LONG * 2)
    await alice.page.get_by_role("button", name="Delete").click()
    await alice.sees(TOO_LONG)


async def is_sent_at_last(person: Person) -> bool:
    """Try again, and return whether that was enough: a server needs a moment to take a change."""
    again = person.page.get_by_role("button", name="Try again")
    if await again.count():
        await again.click()
    tick = person.page.locator(".mine").last.get_by_role("img", name="Sent", exact=True)
    return await tick.count() > 0


async def test_long_chats_are_read_page_by_page(
    windows: tuple[BrowserContext, BrowserContext], server: Server
) -> None:
    texts = [f"number {number}" for number in range(130)]
    await run(server, "send", "--as", "bob", "alice", "-", given="\n".join(texts))
    alice = await chatpage.at(windows[0], "alice", server.connect_url)
    await alice.chooses("bob")
    await expect(alice.said.last).to_contain_text("number 129")
    assert await alice.said.count() < len(texts), "not all at once"
    await until_it_begins(alice)
    await alice.sees(*texts)
    await expect(alice.page.locator(".beginning")).to_contain_text("begins")
    assert alice.violations == []


TO_TOP = """list => {  // at once, since more may come at any time
    const said = [...list.querySelectorAll(".said")]
    list.scrollTop = 1
    return [said.length, said[0].textContent, said[0].getBoundingClientRect().top]
}"""
PLACE = """text => [...document.querySelectorAll(".said")]
    .find(each => each.textContent === text).getBoundingClientRect().top"""


async def until_it_begins(person: Person) -> None:
    """Scroll up until there is nothing more; what a person looks at does not move meanwhile."""
    while not await person.page.get_by_text("is where your chat").count():
        count, first, place = await person.lines.evaluate(TO_TOP)
        await eventually(partial(more_than, person, count))
        assert await person.page.evaluate(PLACE, first) == pytest.approx(place, abs=1)


async def more_than(person: Person, count: int) -> bool:
    begins = await person.page.get_by_text("is where your chat").count()
    return bool(begins) or await person.said.count() > count


async def test_who_scrolls_up_stays_there_though_something_is_drawn_at_once(
    windows: tuple[BrowserContext, BrowserContext], server: Server
) -> None:
    """A browser tells of scrolling only with the next frame."""
    given = "".join(f"number {number}\n" for number in range(60))
    await run(server, "send", "--as", "alice", "bob", "-", given=given)
    alice = await chatpage.at(windows[0], "alice", server.connect_url)
    await alice.chooses("bob")
    await expect(alice.said.last).to_be_in_viewport()
    top = await alice.lines.evaluate(
        """async list => {
            const top = list.scrollTop -= 500
            document.querySelector("#composer").dispatchEvent(new Event("input", {bubbles: true}))
            await new Promise(drawn => setTimeout(drawn, 100))
            return [top, list.scrollTop]
        }"""
    )
    assert top[0] == top[1] > 0


async def test_what_came_meanwhile_is_under_a_line(alice: Person, server: Server) -> None:
    texts = [f"number {number}" for number in range(40)]
    await run(server, "send", "--as", "bob", "alice", "-", given="\n".join(texts))
    await expect(alice.entry("bob").locator(".badge")).to_have_text(re.compile("40"))
    await expect(alice.page).to_have_title(re.compile(r"^\(40\) "))
    await alice.chooses("bob")
    await alice.sees(*texts)
    rows = alice.page.locator(".lines ol > li")
    assert [await row.get_attribute("class") for row in await rows.all()][:2] == ["day", "new"]
    await expect(alice.page.locator(".new")).to_be_in_viewport()
    await expect(alice.said.last).not_to_be_in_viewport()
    await expect(alice.page.get_by_role("heading", name="bob")).to_be_in_viewport(ratio=1)
    page = "({ scrollTop, scrollHeight, clientHeight }) => [scrollTop, scrollHeight - clientHeight]"
    assert await alice.page.locator("html").evaluate(page) == [0, 0], "only the lines scroll"
    await alice.page.get_by_role("button", name="Jump to the latest message, 40 unread").click()
    await expect(alice.said.last).to_be_in_viewport()
    await expect(alice.page).to_have_title(re.compile("^alice"))


async def test_a_hole_is_shown_where_it_is(
    windows: tuple[BrowserContext, BrowserContext], server: Server
) -> None:
    out, _ = await run(server, "send", "--as", "bob", "alice", "-", "--json", given="one\ntwo")
    first = int(re.findall(r'"message_id": "(\d+)"', out)[0])
    await server.terminate()
    history = await EmbeddedHistory.open(server.data)
    hole = Hole("log", 0, 5, 9, first + 1, first + 1, CHAT, "trimmed", "cut by a test", 1)
    await history.write([], [], None, [hole])
    await history.close()
    await server.start()
    alice = await chatpage.at(windows[0], "alice", server.connect_url)
    await alice.chooses("bob")
    rows = alice.page.locator(".lines ol > li:not(.day):not(.new)")
    await expect(rows).to_have_count(3)
    assert "one" in str(await rows.nth(0).text_content())
    await expect(rows.nth(1)).to_have_text("Messages may be missing here")
    assert "two" in str(await rows.nth(2).text_content())
    assert alice.violations == []
