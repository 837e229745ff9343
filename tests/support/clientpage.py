"""A page with the TypeScript client, and people who have it open in some tabs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from playwright.async_api import BrowserContext, CDPSession, Page
from typing_extensions import override

from tests.support.eventually import eventually

HTML = b"""
<!doctype html><meta charset="utf-8"><title>a page</title>
<script type="module">
  import { connect } from "/client.js";
  const told = { message: [], sent: [], rejected: [], status: [], caughtup: [], change: [] };
  const plain = (value) => JSON.parse(JSON.stringify(value, (_, each) =>
    typeof each === "bigint" ? `${each}` : each));
  const [, url, token] = location.hash.split("#");
  const client = await connect({ url, token: () => token });
  for (const name in told) client.on(name, (value) => told[name].push(plain(value)));
  window.chat = { client, told, plain };
</script>
"""


@contextmanager
def web_server(script: bytes) -> Iterator[str]:
    """The URL of a web server with the page, which is there while the chat server is away."""

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_script = self.path.endswith(".js")
            self.send_response(HTTPStatus.OK)
            self.send_header("content-type", "text/javascript" if is_script else "text/html")
            self.end_headers()
            self.wfile.write(script if is_script else HTML)

        @override
        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as web:
        thread = Thread(target=web.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}"
        web.shutdown()


class User:
    """A browser profile of one user."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self._context = context
        self._url = url

    async def tab(self) -> Page:
        page = await self._context.new_page()
        await page.goto(self._url)
        await page.wait_for_function("window.chat !== undefined")
        return page

    async def without_locks(self) -> None:
        hide = "Object.defineProperty(Navigator.prototype, 'locks', { value: undefined })"
        await self._context.add_init_script(hide)


async def send(page: Page, to: str, text: str) -> str:
    """Send, and return the message id once it is acknowledged."""
    sending = "([to, text]) => chat.client.send(to, text).then((id) => `${id}`)"
    return str(await page.evaluate(sending, [to, text]))


async def begin(page: Page, to: str, text: str) -> None:
    """Send, but do not wait for the acknowledgement."""
    await page.evaluate(
        "([to, text]) => { chat.client.send(to, text).catch(() => {}) }", [to, text]
    )


async def told(page: Page, name: str) -> list[Any]:
    return list(await page.evaluate("(name) => chat.told[name]", name))


async def texts(page: Page, name: str = "message") -> list[str]:
    return [each["text"] for each in await told(page, name)]


async def stored(page: Page, peer: str, what: str = "recent") -> list[str]:
    asking = "([peer, what]) => chat.client[what](peer).then(chat.plain)"
    return [each["text"] for each in await page.evaluate(asking, [peer, what])]


async def until_texts(page: Page, wanted: list[str], name: str = "message") -> None:
    async def holds() -> bool:
        return len(await texts(page, name)) >= len(wanted)

    await eventually(holds)
    assert await texts(page, name) == wanted


async def until_connected(page: Page) -> None:
    await page.wait_for_function("chat.client.status.state === 'connected'")


_COUNT_TRANSACTIONS = """() => {
    const { transaction } = IDBDatabase.prototype;
    window.transactions = 0;
    IDBDatabase.prototype.transaction = function (...args) {
        const begun = transaction.apply(this, args);
        window.transactions++;
        for (const end of ["complete", "abort"]) {
            begun.addEventListener(end, () => window.transactions--);
        }
        return begun;
    };
}"""
_PAUSE_BETWEEN_TRANSACTIONS = """() => {
    setTimeout(function pause() {
        if (window.transactions) return setTimeout(pause, 10);
        debugger;
    });
}"""


async def count_transactions(page: Page) -> None:
    """Have the page count the transactions of its storage that are open, for `freeze`."""
    await page.evaluate(_COUNT_TRANSACTIONS)


async def freeze(page: Page) -> CDPSession:
    """Stop all scripts of a page until `Debugger.disable` is sent. A browser that freezes a tab
    gives up its transactions; a debugger leaves them open, so this waits until there is none.
    """
    devtools = await page.context.new_cdp_session(page)
    paused = asyncio.Event()
    devtools.on("Debugger.paused", lambda _: paused.set())
    await devtools.send("Debugger.enable")
    await page.evaluate(_PAUSE_BETWEEN_TRANSACTIONS)
    await paused.wait()
    return devtools
