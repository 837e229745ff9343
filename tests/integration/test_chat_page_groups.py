"""Groups at the chat page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from playwright.async_api import Browser, BrowserContext, Locator, expect

from cecochat.client import Mention, connect
from tests.support import chatpage
from tests.support.axe import violations
from tests.support.chatpage import PHONE, Person
from tests.support.commands import run
from tests.support.eventually import eventually
from tests.support.rawclient import mint
from tests.support.server import Server, started


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """Of eight partitions, so that members live in others than the group."""
    async with started(Server(tmp_path / "up", {"CECOCHAT_PARTITIONS": "8"})) as server:
        yield server


async def makes(person: Person, name: str, members: str) -> None:
    await person.page.get_by_label("New group").click()
    await person.page.get_by_label("Name of the group").fill(name)
    await person.page.get_by_label("Who belongs to it besides you").fill(members)
    await person.page.get_by_role("button", name="Create").click()
    await expect(person.field(name)).to_be_visible()


async def sees_notes(person: Person, *notes: str) -> None:
    """Wait until the open chat says this of changes."""
    await expect(person.page.locator(".note")).to_have_text(list(notes))


def panel(person: Person) -> Locator:
    return person.page.get_by_role("region", name="Members")


async def opens_panel(person: Person, *members: str) -> None:
    await person.page.get_by_role("button", name="Members").click()
    await expect(panel(person).locator(".name")).to_have_text(list(members))


async def test_a_group_is_made_and_chats(alice: Person, bob: Person, axe: str) -> None:
    await alice.is_connected()
    await makes(alice, "Hikers", "bob")
    await sees_notes(alice, "alice created “Hikers” with bob")
    await alice.says("Hikers", "Where to?")
    await expect(bob.entry("Hikers")).to_contain_text("alice: Where to?")
    await expect(bob.entry("Hikers").locator(".badge")).to_have_text("1 unread")
    await bob.chooses("Hikers")
    await bob.sees("Where to?")
    await expect(bob.said.locator(".who")).to_have_text("alice")
    await expect(bob.entry("Hikers").locator(".badge")).to_have_count(0)
    await bob.says("Hikers", "Up")
    await alice.sees("Where to?", "Up")

    async def is_seen_to_type() -> bool:
        await bob.field("Hikers").press("H")
        return "bob: typing …" in await alice.page.locator(".conversation .peer p").inner_text()

    await eventually(is_seen_to_type, every_s=0.2)
    await opens_panel(alice, "alice (you)", "bob")
    assert await violations(alice.page, axe) == []
    await alice.page.reload()
    await alice.sees("Where to?", "Up")
    await sees_notes(alice, "alice created “Hikers” with bob")


async def test_a_mention_is_shown_beside_what_is_unread(
    alice: Person, bob: Person, server: Server, axe: str
) -> None:
    await alice.is_connected()
    await makes(alice, "Hikers", "bob")
    chat = unquote(alice.page.url.split("#/")[1])
    await alice.says("Hikers", "Where to?")
    badge = bob.entry("Hikers").locator(".badge")
    await expect(badge).to_have_text("1 unread")
    mentions = [Mention("bob", 0, 4)]
    async with connect(server.connect_url, mint(server.secret_file, "alice")) as sender:
        said = await sender.send(chat, "@bob, where to?", mentions=mentions)
        await expect(badge).to_have_text("@2 unread, and you are mentioned")
        assert await violations(bob.page, axe) == []
        await sender.edit(chat, said, "Anybody?")
        await expect(badge).to_have_text("2 unread")
        await sender.edit(chat, said, "@bob?", mentions=mentions)
        await expect(badge).to_have_text("@2 unread, and you are mentioned")
        await bob.page.reload()
        await expect(badge).to_have_text("@2 unread, and you are mentioned")
        await bob.chooses("Hikers")
        await expect(badge).to_have_count(0)


async def test_who_belongs_to_a_group_changes(
    alice: Person, bob: Person, windows: tuple[BrowserContext, BrowserContext], server: Server
) -> None:
    carol = await chatpage.at(windows[1], "carol", server.connect_url)
    await makes(alice, "Hikers", "bob")
    await alice.says("Hikers", "before carol")
    await opens_panel(alice, "alice (you)", "bob")
    await alice.page.get_by_label("Add or invite").fill("carol")
    await alice.page.get_by_role("button", name="Add", exact=True).click()
    await expect(panel(alice).locator(".name")).to_have_text(["alice (you)", "bob", "carol"])
    await carol.chooses("Hikers")
    await carol.sees("before carol")
    await bob.chooses("Hikers")
    await alice.page.get_by_label("Remove bob").press("Enter")
    await expect(panel(alice).locator(".name")).to_have_text(["alice (you)", "carol"])
    await expect(panel(alice)).to_be_focused()
    notes = ["alice created “Hikers” with bob", "alice added carol", "alice removed bob"]
    for person in (alice, bob, carol):
        await sees_notes(person, *notes)
    await expect(bob.page.get_by_text("You do not belong to this group.")).to_be_visible()
    await expect(bob.field("Hikers")).to_have_count(0)
    await bob.page.get_by_role("button", name="Join").click()
    await expect(bob.page.get_by_role("alert").filter(has_text="group")).to_be_visible()
    await opens_panel(carol, "alice", "carol (you)")
    await expect(panel(carol).get_by_role("button", name="Remove")).to_have_count(0)
    await carol.page.get_by_role("button", name="Leave the group").click()
    await sees_notes(carol, *notes, "carol left")
    await sees_notes(alice, *notes, "carol left")
    assert carol.violations == []


async def test_what_a_role_allows_is_what_the_panel_offers(
    alice: Person, bob: Person, windows: tuple[BrowserContext, BrowserContext], server: Server
) -> None:
    carol = await chatpage.at(windows[1], "carol", server.connect_url)
    await makes(alice, "Hikers", "bob, carol")
    await opens_panel(alice, "alice (you)", "bob", "carol")
    for each in (bob, carol):
        await each.chooses("Hikers")
        await each.page.get_by_role("button", name="Members").click()
        await expect(panel(each).get_by_role("button")).to_have_text(["Leave the group"])
    await alice.page.get_by_role("button", name="Make admin: bob").click()
    await expect(panel(bob).get_by_role("button")).to_have_text(
        ["Rename", "Remove", "Add", "Invite", "Leave the group"]
    )
    await expect(panel(bob).get_by_role("button", name="Remove carol")).to_be_visible()
    await bob.page.get_by_label("Name of the group").fill("Walkers")
    await bob.page.get_by_role("button", name="Rename").click()
    for each in (alice, bob, carol):
        await expect(each.entry("Walkers")).to_be_visible()
        await expect(each.page.get_by_role("heading", name="Walkers")).to_be_visible()
    await alice.page.get_by_role("button", name="Make member: bob").click()
    await expect(panel(bob).get_by_role("button")).to_have_text(["Leave the group"])
    await alice.page.get_by_role("button", name="Remove bob").click()
    await expect(bob.page.get_by_text("You do not belong to this group.")).to_be_visible()
    await expect(panel(bob)).to_have_count(0)
    await sees_notes(
        carol,
        "alice created “Hikers” with bob and carol",
        "alice made bob an admin",
        "bob changed the group to “Walkers”",
        "alice made bob a plain member",
        "alice removed bob",
    )
    assert carol.violations == []


async def test_who_is_invited_joins_by_the_address(
    alice: Person, windows: tuple[BrowserContext, BrowserContext], server: Server
) -> None:
    dave = await chatpage.at(windows[1], "dave", server.connect_url)
    await makes(alice, "Hikers", "")
    await opens_panel(alice, "alice (you)")
    await alice.page.get_by_role("button", name="Invite").click()
    await expect(panel(alice).get_by_role("alert")).to_have_text("Name somebody to invite")
    await alice.page.get_by_label("Add or invite").fill("dave")
    await alice.page.get_by_role("button", name="Invite").click()
    await expect(panel(alice).get_by_role("listitem").nth(1)).to_contain_text("invited")
    await dave.is_connected()
    address = await alice.page.evaluate("location.hash")
    await dave.page.evaluate("address => { location.hash = address }", address)
    await dave.page.get_by_role("button", name="Join").click()
    await expect(dave.field("Hikers")).to_be_visible()
    await expect(panel(alice).get_by_role("listitem").nth(1)).to_contain_text("member")
    assert dave.violations == []


async def test_others_write_what_a_reader_of_a_channel_only_reads(
    alice: Person, server: Server
) -> None:
    await run(server, "group", "create", "--as", "bob", "News", "alice", "--id", "g:news")
    await run(server, "group", "set", "--as", "bob", "g:news", "--channel")
    await run(server, "send", "--as", "bob", "g:news", "Nothing new")
    await alice.entry("News").click()
    await alice.sees("Nothing new")
    await expect(alice.page.get_by_text("Only admins write here.")).to_be_visible()


async def test_an_open_group_is_joined_by_its_address(alice: Person, server: Server) -> None:
    await run(server, "group", "create", "--as", "bob", "All", "--id", "g:all", "--open")
    await run(server, "send", "--as", "bob", "g:all", "Welcome")
    await alice.is_connected()
    await alice.page.evaluate("location.hash = '#/g%3Aall'")
    await alice.page.get_by_role("button", name="Join").click()
    await expect(alice.field("All")).to_be_visible()
    await alice.sees("Welcome")
    await sees_notes(alice, "bob created “All” (open to all)", "alice joined")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_axe_finds_nothing_in_the_forms(
    chromium: Browser, server: Server, axe: str, dark: bool
) -> None:
    async with chatpage.window(chromium, size=PHONE, dark=dark) as context:
        alice = await chatpage.at(context, "alice", server.connect_url)
        await alice.is_connected()
        await alice.page.get_by_label("New group").click()
        await alice.page.get_by_role("button", name="Create").click()
        await expect(alice.page.get_by_role("alert")).to_have_text("Give the group a name")
        assert await violations(alice.page, axe) == []
        await alice.page.get_by_role("button", name="Cancel").click()
        await makes(alice, "Us", "bob, carol")
        await opens_panel(alice, "alice (you)", "bob", "carol")
        await sees_notes(alice, "alice created “Us” with bob and carol")
        assert await violations(alice.page, axe) == []
        width = await alice.page.evaluate("document.documentElement.scrollWidth")
        assert width == PHONE["width"]
