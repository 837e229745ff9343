"""The page for a person who opens the address of a connect server in a browser.

It holds nothing that a stranger may not know: no address, version, name or number of this system.
It is one file, which loads nothing, and its headers forbid that it ever does.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from string import Template

from sanic import Request
from sanic.response import HTTPResponse
from sanic.response import html as html_response

from cecochat.domain.errors import Invalid
from cecochat.runtime import pages
from cecochat.runtime.http import App, error_response
from cecochat.servers.connect.server import Directory

TEMPLATE = Template(Path(__file__).with_name("front.html").read_text(encoding="utf-8"))
HOST = re.compile(r"[A-Za-z0-9.\-]{1,253}(:\d{1,5})?|\[[0-9a-f:]{2,39}\](:\d{1,5})?", re.I)
LOOPBACK = re.compile(r"(localhost|127\.[\d.]+|\[::1\])(:\d+)?", re.I)
EXAMPLE = "https://chat.example.com"


def _style_hash() -> str:
    style = re.search(r"<style>(.*?)</style>", TEMPLATE.template, re.S)
    assert style, "the page has one style"
    return b64encode(sha256(style[1].encode()).digest()).decode()


HEADERS = pages.HEADERS | {
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_style_hash()}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "cache-control": "no-store",
    "vary": "accept",
}

SERVICES = {
    "connect": ("Lookups", "answered", "not answered yet: it waits to be told who serves whom"),
    "messaging": ("Messages", "a messaging server is live", "no messaging server is live"),
    "history": ("History", "a history server is live", "no history server is live"),
}

HERE = """<p>On this machine, in two terminals, if <code>cecochat up</code> has started the
system:</p>
<pre><code>cecochat chat --connect $url --as alice bob</code>
<code>cecochat chat --connect $url --as bob alice</code></pre>
<p class="quiet">In a checkout, the command is <code>.venv/bin/cecochat</code>. Where tokens are
signed by your back end, use <code>--token</code> instead of <code>--as</code>.</p>"""
ELSEWHERE = """<p>With a token that the application&#8217;s back end has signed for you:</p>
<pre><code>cecochat chat --connect $url --token TOKEN bob</code></pre>
<p class="quiet">On the machine of a system that was started with <code>cecochat up</code>, you need
no token: <code>cecochat chat --as alice bob</code>.</p>"""


def wants_page(request: Request) -> bool:
    """Return whether a browser asks. A program takes anything, or JSON."""
    return "text/html" in request.headers.get("accept", "")


def no_page() -> HTTPResponse:
    """Return what a program gets."""
    message = "/ is a page for browsers: send GET /v1/connect, with a token"
    return error_response(Invalid(message), status=404)


def add_page(app: App, directory: Directory) -> None:
    """Add the page at `GET /`."""

    @app.get("/")
    async def front(request: Request) -> HTTPResponse:
        return page(request, directory.works()) if wants_page(request) else no_page()


def page(request: Request, works: Mapping[str, bool]) -> HTTPResponse:
    """Return the page. `works` says of each of `SERVICES` whether it answers."""
    body = TEMPLATE.substitute(state="\n".join(_states(works)), chat=_chat(request))
    return html_response(body, headers=HEADERS)


def _states(works: Mapping[str, bool]) -> list[str]:
    return [
        f'<div><dt class="{"yes" if works[name] else "no"}">{title}</dt>'
        f"<dd>{good if works[name] else bad}</dd></div>"
        for name, (title, good, bad) in SERVICES.items()
    ]


def _chat(request: Request) -> str:
    """Return how to chat, as it can be typed. What is no name of a host is not repeated."""
    host = request.headers.get("host", "")
    url = f"{request.scheme}://{host}" if HOST.fullmatch(host) else EXAMPLE
    return Template(HERE if LOOPBACK.fullmatch(host) else ELSEWHERE).substitute(url=url)
