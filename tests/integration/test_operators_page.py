"""The operator's page in a real browser, on the embedded system."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, Page, ViewportSize, expect

from cecochat.auth.operators import Scope
from cecochat.client import Message
from cecochat.overview import routes
from tests.integration.clients import device, next_of
from tests.integration.systems import Running, running
from tests.support import operators
from tests.support.axe import PACKAGE, violations
from tests.support.browser import troubles
from tests.support.eventually import eventually
from tests.support.npm import installed

WITHIN_MS, WITHIN_S = 30_000.0, 30.0
DESKTOP, PHONE = ViewportSize(width=1440, height=900), ViewportSize(width=390, height=844)
PARTITIONS = 256


@pytest.fixture
async def up(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path, partitions=PARTITIONS) as up:
        yield up


def url(up: Running) -> str:
    return up.addresses.health["history"]


async def sign_in(page: Page, up: Running, *scopes: Scope) -> None:
    """With the token in the address, as a bookmark of a script would have it."""
    await page.goto(f"{url(up)}/#token={operators.token(*scopes)}")
    await expect(page.locator("#board")).to_be_visible(timeout=WITHIN_MS)


@pytest.fixture
async def page(chromium: Browser) -> AsyncIterator[Page]:
    """Nothing goes wrong on it that nobody sees, such as a violation of its policy."""
    context = await chromium.new_context(viewport=DESKTOP)
    page = await context.new_page()
    found = troubles(page)
    yield page
    await page.unroute_all(behavior="ignoreErrors")
    assert found == []
    await context.close()


# -- who may look


async def test_nothing_is_shown_before_there_is_a_token(up: Running, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(url(up))
    await expect(page.get_by_label("Token of an operator")).to_be_focused()
    await expect(page.locator("#board")).to_be_hidden()
    assert not [each for each in asked if "/overview" in each]
    assert up.addresses.health["messaging"] not in await page.content()


async def test_a_token_is_typed_kept_in_this_tab_and_forgotten(up: Running, page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    token = operators.token()
    await page.goto(url(up))
    await page.get_by_label("Token of an operator").fill(token)
    await page.keyboard.press("Enter")
    await expect(page.locator("#verdict")).to_have_text("All is well", timeout=WITHIN_MS)
    await page.reload()
    await expect(page.locator("#verdict")).to_have_text("All is well", timeout=WITHIN_MS)
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.locator("#board")).to_be_hidden()
    assert "messaging-" not in await page.content()
    await page.reload()
    await expect(page.get_by_label("Token of an operator")).to_be_visible()
    assert not [each for each in asked if token in each], "a token is never part of an address"
    assert await page.evaluate("localStorage.length + document.cookie.length") == 0


async def test_a_token_does_not_stay_in_the_address(up: Running, page: Page) -> None:
    await sign_in(page, up)
    assert page.url == f"{url(up)}/"


async def test_a_token_that_is_no_good_shows_why_and_nothing_else(
    up: Running, chromium: Browser
) -> None:
    page = await chromium.new_page()
    for token, why in {
        "nonsense": "the token is not an operator's token",
        operators.token("people"): "this needs the scope `read`",
    }.items():
        await page.goto(url(up))
        await page.get_by_label("Token of an operator").fill(token)
        await page.get_by_role("button", name="Show the system").click()
        await expect(page.get_by_role("alert")).to_contain_text(why, timeout=WITHIN_MS)
        await expect(page.locator("#board")).to_be_hidden()
        assert await page.evaluate("sessionStorage.length") == 0


async def test_each_scope_shows_what_is_its_own(up: Running, page: Page) -> None:
    await sign_in(page, up, "read")
    await expect(page.locator("#numbers")).to_have_text(re.compile("need a token with the scope"))
    await expect(page.locator("#find-form")).to_be_hidden()
    await expect(page.locator("#may-not-find")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await sign_in(page, up, "read", "metrics", "people")
    await expect(page.locator("#numbers")).to_contain_text("Sessions")
    await expect(page.locator("#find-form")).to_be_visible()


async def test_files_have_a_strict_policy_and_a_foreign_name_is_refused(up: Running) -> None:
    async with httpx.AsyncClient(base_url=url(up), trust_env=False) as client:
        for path in ("/", "/page/main.js", "/page/style.css", "/page/icon.svg"):
            answer = await client.get(path)
            assert answer.status_code == 200, path
            assert answer.headers["content-security-policy"].startswith("default-src 'none'; ")
            assert "unsafe" not in answer.headers["content-security-policy"]
            assert "trusted-types 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["cross-origin-opener-policy"] == "same-origin"
            rebound = await client.get(path, headers={"host": "evil.example"})
            assert rebound.status_code == 421, path
        markup = (await client.get("/")).text
        assert not re.search(r"<script(?! type=\"module\" src=)|style=|\son\w+=|https?://", markup)


# -- what is shown


async def test_the_page_shows_what_the_overview_says(up: Running, page: Page) -> None:
    await sign_in(page, up)
    async with operators.client() as client:
        facts = (await client.get(f"{url(up)}/overview")).json()
    for live in facts["servers"].values():
        for server in live:
            row = page.locator("#server-list tr", has_text=server["instance_id"])
            await expect(row).to_contain_text("ready")
    (row,) = facts["ownership"]["rows"]
    await expect(page.locator("#owners tbody")).to_have_text(
        f"A{row['server_id']}owned{PARTITIONS}0-{PARTITIONS - 1}"
    )
    assert await page.locator(".cell").count() == PARTITIONS
    await page.locator(".cell").nth(17).hover()
    await expect(page.locator("#pointed")).to_have_text(f"partition 17: {row['server_id']}, owned")
    await expect(page.locator("#decisions")).to_be_hidden()


async def test_numbers_follow_what_is_sent(up: Running, page: Page) -> None:
    """The page counts from its first look on, so nothing is sent before that."""
    await sign_in(page, up)
    acknowledged = page.locator(".tile", has_text="Acknowledged")
    await expect(acknowledged).to_contain_text("no message in", timeout=WITHIN_MS)
    async with device(up, "alice") as alice, device(up, "bob") as bob:
        for _ in range(5):
            await alice.send("bob", "hello")
            await next_of(bob, Message)
        for name in ("Acknowledged", "Delivered", "In the history"):
            tile = page.locator(".tile", has_text=name)
            await expect(tile).to_contain_text("ms p50", timeout=WITHIN_MS)
        sessions = page.locator(".tile:has(dt:text-is('Sessions')) .value")
        await expect(sessions).to_have_text("2", timeout=WITHIN_MS)


async def test_a_message_is_found_and_its_path_drawn(up: Running, page: Page) -> None:
    await sign_in(page, up)
    async with device(up, "alice") as alice, device(up, "bob") as bob:
        sent = await alice.send("bob", "hello")
        await next_of(bob, Message)
        await eventually(lambda: _has_arrived(up, sent), WITHIN_S)
        await page.get_by_label("Message id").fill(str(sent))
        await page.keyboard.press("Enter")
        path = page.locator(".path")
        await expect(page.locator("#found")).to_contain_text("it has arrived", timeout=WITHIN_MS)
        stages = await path.locator(".stage > b").all_text_contents()
        assert stages == ["accepted", "acknowledged", "forwarded", "delivered", "materialized"]
        assert await path.locator(".stage.done").count() == 5
        assert not await page.evaluate(
            "performance.getEntriesByType('resource').some("
            "each => new URL(each.name).search.includes('token'))"
        )


async def _has_arrived(up: Running, message_id: int) -> bool:
    async with operators.client() as client:
        return bool(
            (await client.get(f"{url(up)}/where/{message_id}")).json()["state"] == "arrived"
        )


@pytest.mark.parametrize(("given", "said"), [("1", "the log"), ("hello", "is not a message id")])
async def test_what_is_no_message_is_said(
    up: Running, chromium: Browser, given: str, said: str
) -> None:
    page = await chromium.new_page()  # a refusal is an error to its console
    await sign_in(page, up)
    await page.get_by_label("Message id").fill(given)
    await page.get_by_role("button", name="Find").click()
    await expect(page.locator("#found")).to_contain_text(said, timeout=WITHIN_MS)


async def test_old_facts_are_said_to_be_old(tmp_path: Path, chromium: Browser) -> None:
    page = await chromium.new_page()
    async with running(tmp_path) as up:
        await sign_in(page, up)
        await expect(page.locator("#verdict")).to_have_text("All is well", timeout=WITHIN_MS)
    await expect(page.locator("#verdict")).to_contain_text("No news for", timeout=WITHIN_MS)
    await expect(page.locator("#board")).to_have_class("alone stale")
    await expect(page.locator("#server-list")).to_contain_text("messaging-")


async def test_the_first_figures_come_with_the_second_look(up: Running, page: Page) -> None:
    async with device(up, "alice") as alice:
        await alice.send("bob", "hello")
        tile = page.locator(".tile", has_text="Acknowledged")
        numbers: dict[str, Any] = {"sends_per_s": None, "measured_s": None}
        await page.route("**/overview", _rated(numbers))
        await sign_in(page, up)
        await expect(tile).to_contain_text("not measured yet")
        numbers["measured_s"] = 3.7
        await expect(tile).to_contain_text("no message in 4\u00a0s", timeout=WITHIN_MS)


def _rated(numbers: dict[str, Any]) -> Callable[[Any], Awaitable[None]]:
    """What the server says, with some rates changed."""

    async def handle(route: Any) -> None:
        answer = await route.fetch()
        facts = await answer.json()
        facts["rates"] |= numbers | {"stages": dict.fromkeys(facts["rates"]["stages"])}
        await route.fulfill(response=answer, json=facts)

    return handle


async def test_an_assignment_that_is_unread_is_not_said_to_be_none(up: Running, page: Page) -> None:
    await sign_in(page, up)
    await expect(page.locator("#owners")).to_contain_text("messaging-")
    changes = {"ownership": None, "unread": "Redis is away"}
    await page.route("**/overview", _said(changes))
    text = "Nobody can say which partitions are assigned."
    await expect(page.locator("#map")).to_have_text(text, timeout=WITHIN_MS)
    await expect(page.locator("#owners")).to_have_text("")
    changes["unread"] = ""
    text = "No partition is assigned."
    await expect(page.locator("#map")).to_have_text(text, timeout=WITHIN_MS)


async def test_what_the_page_cannot_show_is_said(up: Running, chromium: Browser) -> None:
    """As by a server of a later version, while the page is still of the one before."""
    page = await chromium.new_page()  # its console says what was wrong
    await page.route("**/overview", _said({"servers": None}))
    await sign_in(page, up)
    verdict, board = page.locator("#verdict"), page.locator("#board")
    await expect(verdict).to_have_text(re.compile("cannot show all"), timeout=WITHIN_MS)
    await expect(board).to_have_class(re.compile("stale"))
    await page.unroute_all(behavior="wait")
    await expect(verdict).to_have_text("All is well", timeout=WITHIN_MS)
    await expect(board).not_to_have_class(re.compile("stale"))
    await page.close()


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (503, json.dumps({"error": {"message": "the log rests"}}), "the log rests"),
        (502, "<h1>Bad gateway</h1>", "this server answers with status 502"),
    ],
)
async def test_a_server_that_refuses_is_quoted(
    up: Running, chromium: Browser, status: int, body: str, said: str
) -> None:
    page = await chromium.new_page()
    await page.route("**/overview", lambda route: route.fulfill(status=status, body=body))
    await page.goto(f"{url(up)}/#token={operators.token()}")
    alert = page.get_by_role("alert")
    await expect(alert).to_have_text(f"{said}: it is asked again", timeout=WITHIN_MS)
    await page.unroute_all(behavior="wait")
    await expect(page.locator("#verdict")).to_have_text("All is well", timeout=WITHIN_MS)
    await page.route("**/overview", lambda route: route.fulfill(status=status, body=body))
    await expect(page.locator("#verdict")).to_contain_text(said, timeout=WITHIN_MS)
    await page.close()


@pytest.mark.parametrize(("width", "columns"), [(1440, 8), (1100, 4), (800, 4), (390, 2)])
async def test_the_numbers_fill_their_rows(
    up: Running, page: Page, width: int, columns: int
) -> None:
    await page.set_viewport_size({"width": width, "height": 900})
    await page.route("**/overview", _rated({"forward_lag_records": 98_765, "measured_s": 60}))
    await sign_in(page, up)
    boxes = [await each.bounding_box() for each in await page.locator(".tile").all()]
    tops = Counter(box["y"] for box in boxes if box)
    assert list(tops.values()) == [columns] * (8 // columns)
    cut = """[...document.querySelectorAll(".tile dt, .tile dd")]
        .filter(each => each.scrollWidth > each.clientWidth).map(each => each.textContent)"""
    assert await page.evaluate(cut) == [], "it fits"


async def test_text_from_outside_is_text(up: Running, page: Page) -> None:
    await page.route("**/overview", _said({"wrong": ["<img src=x onerror=alert(1)>"]}))
    await sign_in(page, up)
    await expect(page.locator("#wrong-list")).to_contain_text("<img src=x onerror=alert(1)>")
    await expect(page.locator("#verdict")).to_have_text("1 thing wrong")
    assert await page.title() == "(1) CecoChat"


def _said(changes: dict[str, Any]) -> Callable[[Any], Awaitable[None]]:
    """What the server says, with some facts changed."""

    async def handle(route: Any) -> None:
        answer = await route.fetch()
        await route.fulfill(response=answer, json={**await answer.json(), **changes})

    return handle


# -- for everybody


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
async def test_axe_finds_nothing(
    up: Running, chromium: Browser, axe: str, size: ViewportSize, scheme: Any
) -> None:
    context = await chromium.new_context(viewport=size, color_scheme=scheme)
    page = await context.new_page()
    await page.goto(url(up))
    await expect(page.locator("#sign-in")).to_be_visible()
    assert await violations(page, axe) == []
    async with device(up, "alice") as alice:
        sent = await alice.send("bob", "hello")
    await page.route("**/overview", _said(TROUBLE))
    await sign_in(page, up)
    await page.get_by_label("Message id").fill(str(sent))
    await page.get_by_role("button", name="Find").click()
    await expect(page.locator(".path")).to_be_visible(timeout=WITHIN_MS)
    assert await violations(page, axe) == []
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not await page.evaluate(wide), "nobody has to scroll sideways"
    await page.unroute_all(behavior="ignoreErrors")
    await context.close()


STATES = {"m-1": "owned", "m-2": "taking over", "m-3": "silent", "m-4": "not live", None: "nobody"}
TROUBLE = {
    "wrong": ["no control server leads", "51 partitions: not live"],
    "gone": [{"service": "messaging", "instance_id": "m-4", "version": "1", "gone_ms": 5}],
    "ownership": {
        **{"version": 7, "changed_by": "anna", "read_ms": 5, "stale": True},
        "rows": [
            {"server_id": server, "state": state, "partitions": list(range(at, PARTITIONS, 5))}
            for at, (server, state) in enumerate(STATES.items())
        ],
    },
    "alerts": {
        "prometheus": "http://127.0.0.1:9090",
        "why": "",
        "alerts": [
            {"name": "AppendsWait", "namespace": "", "severity": severity, "state": state,
             "since_ms": 5, "summary": "The log is late", "description": "Kafka does not answer.",
             "runbook": "docs/runbook.md#nobody-can-send-kafka"}
            for severity, state in (("critical", "firing"), ("warning", "firing"), ("", "pending"))
        ],
    },
}  # fmt: skip


# -- its source


async def test_its_scripts_are_typed(axe: str) -> None:
    """By what JSDoc says. `axe` has installed the compiler."""
    del axe
    compiler = installed(PACKAGE) / ".bin" / "tsc"
    options = ("--noEmit", "--allowJs", "--checkJs", "--strict", "--target", "es2023",
               "--module", "esnext", "--moduleResolution", "bundler", "--types", "",
               "--lib", "es2023,dom,dom.iterable")  # fmt: skip
    checking = await asyncio.create_subprocess_exec(
        compiler, *options, str(routes.FOLDER / "main.js"), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await checking.communicate()
    assert said.decode() == ""


def test_the_page_is_small() -> None:
    sizes = {each.name: each.stat().st_size for each in routes.FOLDER.iterdir()}
    assert sum(sizes.values()) < 60_000, json.dumps(sizes)
