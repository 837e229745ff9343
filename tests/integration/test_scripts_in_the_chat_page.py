"""What others write does nothing in the chat page but appear, in its own direction."""

from __future__ import annotations

from functools import partial

import pytest
from playwright.async_api import expect

from tests.support.chatpage import Person
from tests.support.commands import run
from tests.support.eventually import eventually
from tests.support.server import Server

SCRIPTS = [
    "<script>window.harmed = 1</script>",
    '<img src=x onerror="window.harmed = 1">',
    "javascript:window.harmed=1",
    "[click](javascript:window.harmed=1)",
    "data:text/html,<script>window.harmed=1</script>",
    'https://example.com/"onmouseover="window.harmed=1',
    "https://example.com/<script>window.harmed=1</script>",
    "JAVASCRIPT://example.com/%0awindow.harmed=1",
    "https://javascript:window.harmed@example.com/",
    "{{constructor.constructor('window.harmed=1')()}}",
    "<svg/onload=window.harmed=1>",
    "<a href='javascript:window.harmed=1' style='position:fixed;inset:0'>click</a>",
]


async def test_a_script_in_a_message_does_nothing(alice: Person, server: Server) -> None:
    for text in SCRIPTS:
        await run(server, "send", "--as", "bob", "alice", text)
    await alice.chooses("bob")
    await alice.sees(*SCRIPTS)
    links = alice.page.locator(".bubble a")
    for link in await links.all():
        address = str(await link.get_attribute("href"))
        assert address.startswith("https://"), address
        assert await link.get_attribute("rel") == "noopener noreferrer nofollow"
        await link.hover()
    assert await links.count() == 3
    assert await alice.page.evaluate("'harmed' in window") is False
    assert await alice.page.locator(".bubble :is(script, img, svg, iframe)").count() == 0


@pytest.mark.parametrize(
    "name", ["<img src=x onerror=window.harmed=1>", "a/../b", "%00", "d:alice~bob~"]
)
async def test_a_script_in_a_name_does_nothing(alice: Person, name: str) -> None:
    await alice.find.fill(name)
    await alice.page.keyboard.press("Enter")
    await alice.page.evaluate("name => { location.hash = '#/' + name }", name)
    await alice.page.evaluate("name => { location.hash = '#/' + encodeURIComponent(name) }", name)
    await expect(alice.page.get_by_text("Choose a chat")).to_be_visible()
    assert await alice.page.evaluate("'harmed' in window") is False


MISTAKES = [
    "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.harmed=1\">')",
    "document.body.innerHTML = '<b>bold</b>'",
    "const script = document.createElement('script'); script.text = 'window.harmed = 1'",
    "setTimeout('window.harmed = 1')",
    "const link = document.createElement('a'); link.href = 'javascript:window.harmed = 1';"
    "document.body.append(link); link.click()",
    "const image = new Image(); image.src = 'https://example.com/' + document.title",
    "fetch('http://127.0.0.1:1/', { mode: 'no-cors' })",
]


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_no_script_but_its_own_runs_there(alice: Person, mistake: str) -> None:
    """The policy holds, also against what would get into the page by a mistake of ours."""
    await alice.page.evaluate(
        """() => {
            window.refused = 0;
            document.addEventListener("securitypolicyviolation", () => { window.refused += 1 });
        }"""
    )
    await alice.page.evaluate(f"() => {{ try {{ {mistake} }} catch (error) {{}} }}")
    await eventually(partial(alice.page.evaluate, "window.refused"))
    assert await alice.page.evaluate("'harmed' in window") is False
    alice.troubles.clear()


FAMILY = "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f1ea\U0001f1fa"


async def test_every_script_reads_in_its_own_direction(alice: Person, server: Server) -> None:
    texts = ["مرحبا، كيف حالك؟", "שלום עולם", "hello", FAMILY, "日本語", "e\u0301 \u202egnp.exe"]
    for text in texts:
        await run(server, "send", "--as", "bob", "alice", text)
    await alice.chooses("bob")
    await alice.sees(*texts)
    directions = await alice.page.locator(".bubble p").evaluate_all(
        "all => all.map(each => getComputedStyle(each).direction)"
    )
    assert directions[:3] == ["rtl", "rtl", "ltr"]
    await alice.field("bob").fill(texts[0])
    style = "each => getComputedStyle(each).direction"
    assert await alice.field("bob").evaluate(style) == "rtl"
    await alice.field("bob").press("Enter")
    await alice.sees(*texts, texts[0])
