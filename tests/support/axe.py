"""axe-core, which finds what keeps people out of a page."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import Page

from tests.support import npm

PACKAGE = Path(__file__).parents[2] / "clients" / "page"  # which has it anyway


def script() -> str:
    """axe-core itself; it is installed if it is not there yet."""
    return (npm.installed(PACKAGE) / "axe-core" / "axe.min.js").read_text()


async def violations(page: Page, axe: str) -> list[tuple[str, list[str]]]:
    """Each rule that a page breaks, and the elements that do."""
    await page.evaluate(axe)
    found = (await page.evaluate("axe.run()"))["violations"]
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in found]
