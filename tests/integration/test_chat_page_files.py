"""Files are sent, shown and saved at the chat page."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from pathlib import Path

from playwright.async_api import expect

from tests.support.axe import violations
from tests.support.chatpage import WITHIN_MS, Person

DOT = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PAGE = "<script>document.title = 'ran'</script>"


async def test_files_are_sent_shown_and_saved(
    alice: Person, bob: Person, axe: str, tmp_path: Path
) -> None:
    picture, page = tmp_path / "a dot.png", tmp_path / "page.html"
    await asyncio.to_thread(picture.write_bytes, DOT)
    await asyncio.to_thread(page.write_text, PAGE)
    await bob.begins("alice")
    await bob.page.locator("#files").set_input_files([picture, page])
    chosen = bob.page.get_by_role("list", name="Files to send")
    await expect(chosen.get_by_role("listitem")).to_have_count(2)
    assert await violations(bob.page, axe) == []
    await bob.says("alice", "Look")

    await alice.chooses("bob")
    shown = alice.page.get_by_role("img", name="a dot.png")
    await expect(shown).to_be_visible(timeout=WITHIN_MS)
    assert await shown.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1
    assert await violations(alice.page, axe) == []
    async with alice.page.expect_download() as downloading:
        await alice.page.get_by_role("button", name="page.html").click()
    download = await downloading.value
    assert download.suggested_filename == "page.html"
    assert await asyncio.to_thread((await download.path()).read_text) == PAGE
    assert await alice.page.title() != "ran"
    assert alice.violations == bob.violations == []


async def test_what_is_too_large_says_so_and_can_be_dropped(alice: Person, tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    await asyncio.to_thread(path.write_bytes, bytes((25 << 20) + 1))
    await alice.begins("bob")
    await alice.page.locator("#files").set_input_files([path])
    await alice.page.get_by_role("button", name="Send", exact=True).click()
    refusal = alice.page.locator(".refusal")
    await expect(refusal).to_contain_text("26214400 are allowed", timeout=WITHIN_MS)
    await refusal.get_by_role("button", name="Delete").click()
    await expect(refusal).to_have_count(0)
    assert all("a status of 429" in each for each in alice.troubles)  # as browsers tell of it
    alice.troubles.clear()
