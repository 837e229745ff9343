"""The operator's page shows open reports to those who may see them, and ask."""

from __future__ import annotations

from playwright.async_api import Page, expect

from tests.integration.clients import device
from tests.integration.systems import Running
from tests.integration.test_operators_page import page, sign_in, up
from tests.support.axe import violations

__all__ = ["page", "up"]  # fixtures


async def test_open_reports_are_shown_to_who_asks(up: Running, page: Page, axe: str) -> None:
    await sign_in(page, up, "read")
    await expect(page.locator("#reports")).to_be_hidden()
    await sign_in(page, up)
    await page.reload()
    look, queue = page.get_by_role("button", name="Look"), page.locator("#queue")
    await look.click()
    await expect(queue).to_have_text("No report is open.")
    async with device(up, "eve") as eve, device(up, "alice") as alice:
        sent = await eve.send("alice", "<b>buy my pills</b>")
        id_ = await alice.report("eve", sent, "spam", "every day")
        await alice.report_user("eve", "rude")
    await look.click()
    await expect(queue.locator("li")).to_have_count(2)
    first = queue.locator("li").first
    await expect(first).to_contain_text(f"spam alice reports eve {id_}")
    await expect(first.locator("blockquote")).to_have_text("<b>buy my pills</b>")
    assert await violations(page, axe) == []
    await page.get_by_role("button", name="Sign out").click()
    assert await queue.text_content() == "", "nothing is left for who comes next"
