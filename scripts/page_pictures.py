"""Make the pictures of the chat page: light, dark and at the width of a phone.

python -m scripts.page_pictures http://127.0.0.1:8080 [FOLDER]

Two people chat at the page of a system that `cecochat up` has just started. It needs Chromium,
fonts for emoji and Arabic and, for small files, pngquant.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "tutorials" / "pictures"
DESKTOP, PHONE = (1_200, 760), (390, 780)
TALK = (
    ("alice", "Did the new build survive the night?"),
    ("bob", "All green. I killed the server twice to be sure 🙂"),
    ("bob", "Nothing lost, nothing doubled."),
    (
        "alice",
        "Lovely. The notes are at https://example.com/notes, in case you want to read along.",
    ),
    ("bob", "مرحبا! أقرأها الآن"),
    ("alice", "Take your time"),
    ("alice", "See you at eight?"),
)
OTHERS = (("carol", "I will bring the cake."), ("dave", "Thursday works for me"), ("erin", "👍"))


def main(url: str, folder: str = str(FOLDER)) -> None:
    """Take all pictures."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        _take(browser, url, Path(folder))
        browser.close()


def _take(browser: Browser, url: str, folder: Path) -> None:
    pages = {"alice": _opened(browser, url, "alice"), "bob": _opened(browser, url, "bob", "dark")}
    peers = {"alice": "bob", "bob": "alice"}
    for user, page in pages.items():
        _begin(page, peers[user])
    for user, text in TALK:
        _say(pages[user], peers[user], text)
        pages[peers[user]].locator(".theirs", has_text=text).wait_for()
    for user, text in OTHERS:
        other = _opened(browser, url, user)
        _begin(other, "alice")
        _say(other, "alice", text)
        pages["alice"].locator(".chat", has_text=text).wait_for()
        other.context.close()
    _picture(pages["alice"], folder / "chat-page-light.png")
    pages["bob"].context.set_offline(True)
    _say(pages["bob"], "alice", "At eight! I am in a tunnel, but this will reach you.")
    pages["bob"].locator(".connection p").wait_for()
    _picture(pages["bob"], folder / "chat-page-dark.png")
    pages["alice"].set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    _picture(pages["alice"], folder / "chat-page-phone.png")


def _opened(browser: Browser, url: str, user: str, theme: str = "light") -> Page:
    context = browser.new_context(
        viewport={"width": DESKTOP[0], "height": DESKTOP[1]},
        color_scheme="dark" if theme == "dark" else "light",
        locale="en-GB",
    )
    page = context.new_page()
    page.goto(url)
    page.get_by_label("Your name").fill(user)
    page.keyboard.press("Enter")
    page.locator(".connection.connected").wait_for(state="attached")
    return page


def _begin(page: Page, peer: str) -> None:
    page.get_by_role("searchbox").fill(peer)
    page.keyboard.press("Enter")
    page.get_by_label(f"Message to {peer}").wait_for()


def _say(page: Page, peer: str, text: str) -> None:
    page.get_by_label(f"Message to {peer}").fill(text)
    page.keyboard.press("Enter")


def _picture(page: Page, path: Path) -> None:
    page.bring_to_front()
    page.wait_for_timeout(1_000)  # until marks and scrolling are where they stay
    page.screenshot(path=path)
    if small := shutil.which("pngquant"):
        subprocess.run(
            [small, "--force", "--strip", "--quality", "80-98", "--output", path, path], check=True
        )
    print(f"{path} ({path.stat().st_size:,} bytes)")


if __name__ == "__main__":
    main(*sys.argv[1:])
