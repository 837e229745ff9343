"""What the tests of pages stand on: a browser that runs scripts, and that tells what goes wrong."""

from __future__ import annotations

from playwright.async_api import Browser

from tests.support.browser import troubles
from tests.support.eventually import eventually


async def test_a_page_runs_and_its_errors_are_told(chromium: Browser) -> None:
    page = await chromium.new_page()
    found = troubles(page)
    await page.set_content("<h1>1</h1><script>document.querySelector('h1').innerText = 2</script>")
    assert await page.inner_text("h1") == "2"
    assert found == []
    await page.set_content("<script>throw new Error('told')</script>")
    await eventually(lambda: found == ["Error: told"])
