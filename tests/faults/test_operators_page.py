"""The operator's page of a cluster: it shows what the commands say, and who has died."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from cecochat.auth.minting import mint
from cecochat.client import connect
from cecochat.domain.cluster.balance import ranges
from cecochat.settings.private import drawn_secret
from scripts.backends.launch import Backend
from tests.support import operators
from tests.support.browser import troubles
from tests.support.eventually import eventually
from tests.support.processes import Processes, processes
from tests.support.server import command

COUNTS = {"control": 1, "messaging": 3, "materialize": 1, "history": 2, "connect": 1}
WITHIN_MS = 60_000.0
WITHIN_S = 60.0


@pytest.mark.timeout(300)
async def test_the_page_shows_what_the_commands_say_and_who_has_died(
    on_real: dict[str, str], tmp_path: Path, chromium: Browser
) -> None:
    async with processes(tmp_path, on_real, COUNTS) as cluster:
        where = {**on_real, "CECOCHAT_DATA_DIR": f"{tmp_path / 'data'}"}
        await eventually(lambda: _is_well(where), WITHIN_S, 0.5)
        url = str(cluster.of("history")[0].ready["health_url"])
        page = await chromium.new_page()
        found = troubles(page)
        await page.goto(f"{url}/#token={operators.token()}")
        await expect(page.locator("#verdict")).to_have_text("All is well", timeout=WITHIN_MS)
        await _says_the_same(page, where)
        await _finds_the_same(page, cluster, where)
        await _shows_a_death(page, cluster, where)
        assert found == []


async def _is_well(where: Mapping[str, str]) -> bool:
    """All is well, and nothing will move by itself."""
    well = '"wrong": []' in await command(where, "status", "--json", code=None)
    return well and "nothing to move" in await command(where, "partitions", "plan", code=None)


async def _says_the_same(page: Page, where: Mapping[str, str]) -> None:
    status = json.loads(await command(where, "status", "--json"))
    servers = [each["instance_id"] for live in status["servers"].values() for each in live]
    assert len(servers) == sum(COUNTS.values())
    for server in servers:
        await expect(page.locator("#server-list tr", has_text=server)).to_contain_text("ready")
    rows = [json.loads(line) for line in (await command(where, *SHOW)).splitlines()]
    for row in rows:
        shown = page.locator("#owners tbody tr", has_text=row["server_id"])
        held = f"owned{len(row['partitions'])}{ranges(row['partitions'])}"
        await expect(shown).to_contain_text(held)
    partitions = sum(len(row["partitions"]) for row in rows)
    await expect(page.locator(".cell")).to_have_count(partitions)
    control = json.loads(await command(where, "control", "status", "--limit", "100", "--json"))
    await expect(page.locator("#leader")).to_contain_text(f"{control['server_id']} leads")
    items = page.locator("#decision-list > li")
    await expect(items).to_have_count(len(control["decisions"]))
    for number, decision in enumerate(control["decisions"]):
        await expect(items.nth(number)).to_contain_text(decision["reason"])


SHOW = ("partitions", "show", "--json")


async def _finds_the_same(page: Page, cluster: Processes, where: Mapping[str, str]) -> None:
    sending = {**where, "CECOCHAT_TOKEN_SECRET_FILE": str(cluster.secret_file)}
    send = ("send", "--connect", cluster.connect_url, "--as", "alice", "bob", "hello")
    sent = (await command(sending, *send)).strip()
    found: dict[str, Any] = {}

    async def settled() -> bool:
        found.update(json.loads(await command(where, "where", sent, "--json")))
        return bool(found["waits_for"] == ["delivered to bob"])

    await eventually(settled, WITHIN_S, 0.5)
    await page.get_by_label("Message id").fill(sent)
    await page.keyboard.press("Enter")
    await expect(page.locator("#found")).to_contain_text(found["verdict"], timeout=WITHIN_MS)
    for step in found["steps"]:
        stage = page.locator(f".stage:has(> b:text-is('{step['name']}'))")
        await expect(stage).to_contain_text(step["text"])
        await expect(stage).to_have_class(f"stage {step['state']}")


async def _shows_a_death(page: Page, cluster: Processes, where: Mapping[str, str]) -> None:
    dead = cluster.of("messaging")[0]
    own = page.locator("#owners tbody tr", has_text=dead.instance_id)
    await expect(own).to_have_count(1)
    await dead.kill()
    row = page.locator("#server-list tr", has_text=dead.instance_id)
    await expect(row).to_contain_text("gone for", timeout=WITHIN_MS)
    await expect(own).to_have_count(0, timeout=WITHIN_MS)
    decision = page.locator("#decision-list > li").first
    await expect(decision).to_contain_text(f"not live: {dead.instance_id}", timeout=WITHIN_MS)
    await expect(page.locator(".cell.arrived").first).to_be_visible(timeout=WITHIN_MS)
    await eventually(lambda: _is_well(where), WITHIN_S, 0.5)
    await expect(page.locator("#verdict")).to_have_text("All is well", timeout=WITHIN_MS)
    await _says_nothing_of(page, dead.instance_id, where)


async def _says_nothing_of(page: Page, server: str, where: Mapping[str, str]) -> None:
    """The dead server owns nothing, for the page as for the command."""
    rows = [json.loads(line) for line in (await command(where, *SHOW)).splitlines()]
    assert server not in [row["server_id"] for row in rows]
    shown = page.locator("#owners tbody")
    for row in rows:
        await expect(shown).to_contain_text(ranges(row["partitions"]), timeout=WITHIN_MS)


@pytest.mark.timeout(400)
async def test_the_page_tells_of_backends_that_are_away(
    real: Mapping[str, Backend], on_real: dict[str, str], tmp_path: Path, chromium: Browser
) -> None:
    async with processes(tmp_path, on_real, {**COUNTS, "messaging": 1, "history": 1}) as cluster:
        page = await chromium.new_page()
        url = str(cluster.of("history")[0].ready["health_url"])
        await page.goto(f"{url}/#token={operators.token()}")
        await expect(page.locator("#verdict")).to_have_text("All is well", timeout=WITHIN_MS)
        await _tells_of_kafka(page, real["kafka"], cluster)
        await _tells_of_redis(page, real["redis"])


async def _tells_of_kafka(page: Page, kafka: Backend, cluster: Processes) -> None:
    token = mint(drawn_secret(cluster.secret_file), "alice", 3_600)
    async with connect(cluster.connect_url, token, listen=False) as alice:
        await alice.send("bob", "before")
        await asyncio.to_thread(kafka.kill)
        waiting = asyncio.create_task(alice.send("bob", "meanwhile"))
        told = page.locator("#wrong-list")
        await expect(told).to_contain_text("for the log to take an append", timeout=WITHIN_MS)
        await asyncio.to_thread(kafka.start)
        await waiting
    await expect(page.locator("#verdict")).to_have_text("All is well", timeout=WITHIN_MS)


async def _tells_of_redis(page: Page, redis: Backend) -> None:
    before = await page.locator("#owners tbody").inner_text()
    await asyncio.to_thread(redis.kill)
    told = page.locator("#wrong-list")
    await expect(told).to_contain_text("the assignment cannot be read now", timeout=WITHIN_MS)
    await expect(page.locator("#moving")).to_contain_text("as of", timeout=WITHIN_MS)
    assert await page.locator("#owners tbody").inner_text() == before, "what was known is kept"
    await asyncio.to_thread(redis.start)
    await expect(page.locator("#verdict")).to_have_text("All is well", timeout=WITHIN_MS)
    await expect(page.locator("#moving")).not_to_contain_text("as of")
